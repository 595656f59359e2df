"""Paths and files of an object store, against a real S3 server on this machine."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.s3_server import BUCKET, S3Server
from wbrag import objects
from wbrag.datasets import ingest_corpus, ingest_examples
from wbrag.errors import StoreError, UsageError, WbragError
from wbrag.files import (
    Location,
    file_in_one_step,
    folder_in_one_step,
    inside,
    listed,
    location,
    locked,
    opened,
    sha256_of,
    write_atomically,
)
from wbrag.objects import ObjectPath
from wbrag.parquet import REPLACING, corpus_files, rows_with_ids
from wbrag.records import read_rows, write_rows
from wbrag.serving.keys import Keys, session_secret
from wbrag.shelf.decisions import Decisions
from wbrag.shelf.log import Log
from wbrag.shelf.releases import Release, Releases


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def root(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Any]:
    """A prefix of one's own."""
    s3.use(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(objects, "FIRST_PAUSE_S", 0.01)
    yield location(f"s3://{BUCKET}/{request.node.originalname}/{len(s3.requests)}")
    s3.fault = None


def text(path: Location) -> str:
    return path.read_text(encoding="utf-8")


# -- names --------------------------------------------------------------------------------------------------------


def test_a_plain_text_is_a_local_path_and_imports_nothing() -> None:
    code = (
        "import sys; from wbrag.files import location; from pathlib import Path;"
        "assert location('a/b') == Path('a/b') and location(Path('c')) == Path('c');"
        "assert not {'wbrag.objects', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_are_taken_apart_as_pathlib_does() -> None:
    path = location("s3://bucket/a//b/./part-1.parquet")
    assert isinstance(path, ObjectPath)
    assert str(path) == "s3://bucket/a/b/part-1.parquet"
    assert (path.name, path.stem, path.suffix, str(path.parent)) == (
        "part-1.parquet",
        "part-1",
        ".parquet",
        "s3://bucket/a/b",
    )
    assert str(path.with_suffix(".lock")) == "s3://bucket/a/b/part-1.lock"
    assert str(path.with_name("x")) == "s3://bucket/a/b/x" and path.resolve() == path
    assert inside(path, location("s3://bucket/a")) == "b/part-1.parquet"
    assert inside(Path("/w/index/m.json"), Path("/w")) == "index/m.json"
    assert str(location("s3://bucket") / "a/b") == "s3://bucket/a/b"


@pytest.mark.parametrize("wrong", ["ftp://host/a", "s3://", "s3:///", "http://host/a", "s3://bucket/../other"])
def test_another_scheme_is_refused_in_one_sentence(wrong: str) -> None:
    with pytest.raises(UsageError, match="expected a local path, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER"):
        location(wrong)


@pytest.mark.parametrize("odd", ["a#b", "a?b", "a%20b", "a[b]"])
def test_a_name_that_means_something_in_a_url_is_refused(odd: str) -> None:
    with pytest.raises(UsageError, match="choose another name"):
        location("s3://bucket") / odd


def test_google_storage_takes_the_same_way() -> None:
    """No Google storage is asked here: only that its client is the one behind the path."""
    from pyarrow.fs import GcsFileSystem

    path = location("gs://bucket/a") / "b.json"
    assert isinstance(path, ObjectPath) and str(path) == "gs://bucket/a/b.json"
    assert isinstance(path.filesystem, GcsFileSystem)
    assert "aws_endpoint_url" not in objects.delta_options(path)


def test_a_pyarrow_without_the_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import fs

    objects._filesystem.cache_clear()
    monkeypatch.delattr(fs, "GcsFileSystem")
    with pytest.raises(WbragError, match="pip install pyarrow"):
        _ = location("gs://bucket/a").filesystem  # type: ignore[union-attr]
    objects._filesystem.cache_clear()


# -- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", "ü", "i+j", "k&l=m", "r'(s)!"])
def test_both_clients_mean_the_same_place(root: ObjectPath, name: str) -> None:
    Log(root / name / "table", pa.schema([("n", pa.int64())])).append([{"n": 1}])
    assert len(listed(root / name / "table", "*.parquet")) == 1


def test_files_are_written_listed_read_and_removed(root: ObjectPath) -> None:
    assert not (root / "a.json").exists() and listed(root, "*") == []
    write_atomically(root / "a.json", "first\n")
    write_atomically(root / "a.json", "second é\n")
    write_atomically(root / "sub" / "b.json", "{}\n")
    write_atomically(root / "sub" / "deep" / "c.json", "")
    assert text(root / "a.json") == "second é\n" and text(root / "sub/deep/c.json") == ""
    assert (root / "a.json").is_file() and (root / "sub").is_dir() and not (root / "sub").is_file()
    assert (root / "a.json").stat().st_size == len("second é\n".encode())
    assert [inside(f, root) for f in listed(root, "*")] == ["a.json"]
    assert [inside(f, root) for f in listed(root, "*/*.json")] == ["sub/b.json"]
    assert [inside(f, root) for f in listed(root, "sub/*.json")] == ["sub/b.json"]
    (root / "a.json").unlink()
    (root / "a.json").unlink(missing_ok=True)
    assert not (root / "a.json").exists()
    with pytest.raises(FileNotFoundError, match="expected an object at"):
        (root / "a.json").stat()


def test_a_block_that_fails_writes_nothing(root: ObjectPath) -> None:
    write_atomically(root / "kept.txt", "kept")
    with pytest.raises(RuntimeError), file_in_one_step(root / "kept.txt") as scratch:
        scratch.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), folder_in_one_step(root / "folder") as scratch:
        (scratch / "half").write_text("half")
        raise RuntimeError
    assert text(root / "kept.txt") == "kept" and listed(root, "*/*") == []


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(root: ObjectPath, tmp_path: Path) -> None:
    local = tmp_path / "large"
    local.write_bytes(bytes(range(256)) * (24 << 12))  # 24 MiB
    with folder_in_one_step(root / "folder") as scratch:
        (scratch / "large").write_bytes(local.read_bytes())
    (root / "folder/large").fetch(tmp_path / "back")
    assert sha256_of(root / "folder/large") == sha256_of(local) == sha256_of(tmp_path / "back")


def test_parquet_is_read_by_ranges(root: ObjectPath, s3: S3Server) -> None:
    table = pa.table({"id": [f"p{i:05d}" for i in range(40_000)], "text": [f"{i * 7919}" * 20 for i in range(40_000)]})
    with file_in_one_step(root / "part.parquet") as scratch:
        pq.write_table(table, scratch, row_group_size=4000)
    parquet = pq.ParquetFile(opened(root / "part.parquet"))
    assert parquet.read_row_group(3) == table.slice(12_000, 4000)
    found = rows_with_ids([root / "part.parquet", root / "part.parquet"], ["p00007", "p39999", "none"], ["text"])
    assert found["text"].to_pylist() == [table["text"][7].as_py(), table["text"][39_999].as_py()] * 2


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_fails_for_a_while_is_asked_again(root: ObjectPath, s3: S3Server, status: int) -> None:
    with file_in_one_step(root / "rows.parquet") as scratch:
        pq.write_table(pa.table({"id": ["a"]}), scratch)
    turn = iter(range(1_000_000))
    s3.fault = lambda method, path: status if next(turn) % 3 else None
    write_atomically(root / "a.json", "written")
    assert text(root / "a.json") == "written"
    assert pq.read_table(opened(root / "rows.parquet"))["id"].to_pylist() == ["a"]
    log = Log(root / "table", pa.schema([("n", pa.int64())]))
    log.append([{"n": 1}])
    assert log.rows() == [{"n": 1}]


def test_a_slow_store_is_waited_for(root: ObjectPath, s3: S3Server) -> None:
    s3.fault = lambda method, path: 3.5 if method == "HEAD" else None  # the client's own default gives up after 3
    write_atomically(root / "a.json", "written")
    assert text(root / "a.json") == "written" and (root / "a.json").is_file()


def test_a_store_that_always_fails_is_one_sentence(root: ObjectPath, s3: S3Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(objects, "TRIES", 1)
    write_atomically(root / "a.json", "before")
    s3.fault = lambda method, path: 503
    for call in (
        lambda: text(root / "a.json"),
        lambda: write_atomically(root / "a.json", "after"),
        lambda: listed(root, "*"),
        lambda: Log(root / "table", pa.schema([("n", pa.int64())])).rows(),
        lambda: Log(root / "table", pa.schema([("n", pa.int64())])).append([{"n": 1}]),
    ):
        with pytest.raises(StoreError, match="expected to .*found .*: check the bucket") as raised:
            call()
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
    s3.fault = None
    assert text(root / "a.json") == "before" and listed(root, "*/*") == []


def test_a_missing_bucket_and_an_endpoint_that_is_down(root: ObjectPath, s3: S3Server, monkeypatch: Any) -> None:
    with pytest.raises(StoreError, match="to write s3://no-such-bucket/a.*NO_SUCH_BUCKET"):
        write_atomically(location("s3://no-such-bucket/a"), "text")
    asked = len(s3.requests)
    monkeypatch.setattr(objects, "TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="check the bucket, the credentials and the endpoint"):
        (root / "a").is_file()
    assert len(s3.requests) == asked


# -- what is built on them ----------------------------------------------------------------------------------------


def test_rows_that_got_it_right_win_whatever_the_clock_said(root: ObjectPath, tmp_path: Path) -> None:
    row = {"id": "q1", "question": "?", "prediction": "", "score": 0.0}
    for folder in (root, tmp_path):
        write_rows(folder, "evaluate", [row | {"error": "", "prediction": "right"}], "b")
        write_rows(folder, "evaluate", [row | {"error": "later by clock"}], "c")
        write_rows(folder, "evaluate", [row | {"error": "earlier by name"}], "a")
        assert read_rows(folder)["q1"]["prediction"] == "right"


def _corpus(folder: Path, name: str, rows: int) -> Path:
    file = folder / name
    with gzip.open(file, "wt", encoding="utf-8") as out:
        out.writelines(
            json.dumps({"id": f"p{i}", "contents": f"Title {i}\ntext {i} of {name}"}) + "\n" for i in range(rows)
        )
    return file


def test_a_corpus_is_read_from_and_written_to_the_store(root: ObjectPath, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("wbrag.datasets.ingest.PART_ROWS", 2500)
    source = root / "source" / "corpus.jsonl.gz"
    source.put(_corpus(tmp_path, "one.jsonl.gz", 6000))
    result = ingest_corpus(str(source), root / "corpus", format="flashrag")
    ingest_corpus(tmp_path / "one.jsonl.gz", tmp_path / "corpus", format="flashrag")
    assert (result.rows, str(result.path)) == (6000, f"{root}/corpus")
    files = corpus_files(root / "corpus")
    assert [f.name for f in files] == [f.name for f in corpus_files(tmp_path / "corpus")] and len(files) > 1
    assert [sha256_of(f) for f in files] == [sha256_of(f) for f in corpus_files(tmp_path / "corpus")]
    ingest_corpus(_corpus(tmp_path, "two.jsonl.gz", 10), root / "corpus", format="flashrag")
    assert [pq.read_table(opened(f)).num_rows for f in corpus_files(root / "corpus")] == [10]
    ingest_corpus(root / "corpus", tmp_path / "again", format="parquet")
    assert pq.read_table(tmp_path / "again")["text"].to_pylist() == [f"text {i} of two.jsonl.gz" for i in range(10)]


def test_half_a_corpus_is_never_read(root: ObjectPath, s3: S3Server, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("wbrag.datasets.ingest.PART_ROWS", 2500)
    monkeypatch.setattr(objects, "TRIES", 1)
    ingest_corpus(_corpus(tmp_path, "one.jsonl.gz", 6000), root / "corpus", format="flashrag")
    s3.fault = lambda method, path: 503 if method == "PUT" and path.endswith("part-00001.parquet") else None
    with pytest.raises(StoreError):
        ingest_corpus(_corpus(tmp_path, "two.jsonl.gz", 6000), root / "corpus", format="flashrag")
    s3.fault = None
    assert (root / "corpus" / REPLACING).is_file()
    with pytest.raises(WbragError, match="expected a whole corpus"):
        corpus_files(root / "corpus")
    ingest_corpus(tmp_path / "two.jsonl.gz", root / "corpus", format="flashrag")
    assert "two" in pq.read_table(opened(corpus_files(root / "corpus")[-1]))["text"][-1].as_py()


def test_examples_are_written_in_one_step(root: ObjectPath, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"id": "q", "question": "Who?", "golden_answers": ["Ana"]}\n', encoding="utf-8")
    ingest_examples(tmp_path / "q.jsonl", root / "nq" / "dev.parquet", format="flashrag", task="qa")
    assert pq.read_table(opened(root / "nq/dev.parquet"))["id"].to_pylist() == ["q"]


def test_keys_and_the_secret_of_the_pages(root: ObjectPath, monkeypatch: Any) -> None:
    monkeypatch.setattr("wbrag.serving.keys.FRESH_S", 0.0)
    token, watching = Keys(root).add("ana", "admin"), Keys(root)
    assert watching.find(token) and not watching.find("wrong")
    Keys(root).add("ben", "reader")
    Keys(root).remove("ana")
    deadline = threading.Event()
    for _ in range(100):
        if [key.name for key in watching.all()] == ["ben"]:
            break
        deadline.wait(0.05)
    assert [key.name for key in watching.all()] == ["ben"]
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(session_secret(root))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1 and len(found[0]) == 64


def test_a_reader_of_keys_outlives_its_store(root: ObjectPath, s3: S3Server, monkeypatch: Any) -> None:
    monkeypatch.setattr("wbrag.serving.keys.FRESH_S", 0.0)
    monkeypatch.setattr(objects, "TRIES", 1)
    token, keys = Keys(root).add("ana", "admin"), Keys(root)
    assert keys.find(token)
    s3.fault = lambda method, path: 503
    assert all(keys.find(token) for _ in range(5))
    with pytest.raises(StoreError):
        Keys(root).all()


# -- several at once ----------------------------------------------------------------------------------------------


def _append(folder: str, writer: int, count: int) -> None:
    log = Log(location(folder), pa.schema([("n", pa.int64())]))
    for i in range(count):
        log.append([{"n": writer * 100 + i}])


def test_two_processes_append_to_one_table_and_no_row_is_lost(root: ObjectPath) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(f"{root}/table", w, 4)) for w in (1, 2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
    assert [process.exitcode for process in writers] == [0, 0]
    rows = Log(root / "table", pa.schema([("n", pa.int64())])).rows()
    assert sorted(row["n"] for row in rows) == [*range(100, 104), *range(200, 204)]


def test_of_two_that_decided_on_one_state_only_one_is_written(root: ObjectPath, tmp_path: Path) -> None:
    for folder in (root, tmp_path):
        log = Log(folder / "table", pa.schema([("n", pa.int64())]))
        log.append([{"n": 1}], after=-1)
        with pytest.raises(WbragError, match="another commit meanwhile"):
            log.append([{"n": 2}], after=-1)
        version = log.version
        log.append([{"n": 3}], after=version)
        with pytest.raises(WbragError, match="another commit meanwhile"):
            log.append([{"n": 4}], after=version)
        assert sorted(row["n"] for row in log.rows()) == [1, 3]


def test_two_machines_cannot_publish_one_number(root: ObjectPath, monkeypatch: Any) -> None:
    """Another machine's lock is another file, so here the second writer comes in while the first holds its own."""
    first, second = Releases(root / "releases"), Releases(root / "releases")
    release = Release("r0001", 1, "publish", "", "", "", "b", "", "w", "", 0, 0, "e")
    before = first.all

    def all_and_then_another() -> list[Release]:
        found = before()
        monkeypatch.setattr(first, "all", before)
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("XDG_CACHE_HOME", f"{Path.cwd()}/no-such")
            elsewhere.setattr("wbrag.shelf.releases.locked", lambda path: __import__("contextlib").nullcontext())
            second.append(release)
        return found

    monkeypatch.setattr(first, "all", all_and_then_another)
    with pytest.raises(WbragError, match="another commit meanwhile"):
        first.append(release)
    assert [r.id for r in second.all()] == ["r0001"]
    decisions = Decisions(root / "decisions")
    decisions.decide(["u1"], "approved", by="ana", why="")
    assert decisions.states() == {"u1": "approved"}


def test_the_lock_of_a_remote_path_is_a_local_file(root: ObjectPath, tmp_path: Path) -> None:
    with locked(root / "table.lock"):
        pass
    assert len(list((tmp_path / "cache" / "wbrag" / "locks").iterdir())) == 1 and listed(root, "*") == []
