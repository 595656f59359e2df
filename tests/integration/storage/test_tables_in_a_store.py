"""Rows, corpora, keys and tables in an object store, and several who write at once, on a real S3 server."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from tests.support.s3_server import S3Server
from wbrag.core.errors import StoreError, WbragError
from wbrag.core.io import objects
from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import (
    listed,
    location,
    locked,
    opened,
    sha256_of,
)
from wbrag.core.io.objects import ObjectPath
from wbrag.core.io.parquet import REPLACING, corpus_files, rows_with_ids
from wbrag.data import ingest_corpus, ingest_examples
from wbrag.data.update import update_corpus
from wbrag.enrich.row_files import read_rows, write_rows
from wbrag.serving.keys import Keys, session_secret
from wbrag.units.decisions import Decisions
from wbrag.units.releases import Release, Releases


class Number(NamedTuple):
    n: int


def test_rows_that_got_it_right_win_whatever_the_clock_said(root: ObjectPath, tmp_path: Path) -> None:
    row = {"id": "q1", "question": "?", "prediction": "", "score": 0.0}
    for folder in (root, tmp_path):
        write_rows(folder, "evaluate", [row | {"error": "", "prediction": "right"}], "b")
        write_rows(folder, "evaluate", [row | {"error": "later by clock"}], "c")
        write_rows(folder, "evaluate", [row | {"error": "earlier by name"}], "a")
        assert read_rows(folder, "evaluate")["q1"]["prediction"] == "right"


def _corpus(folder: Path, name: str, rows: int) -> Path:
    file = folder / name
    with gzip.open(file, "wt", encoding="utf-8") as out:
        out.writelines(
            json.dumps({"id": f"p{i}", "contents": f"Title {i}\ntext {i} of {name}"}) + "\n" for i in range(rows)
        )
    return file


def test_a_corpus_is_read_from_and_written_to_the_store(root: ObjectPath, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("wbrag.data.ingest.PART_ROWS", 2500)
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


def test_an_update_uploads_the_files_that_changed(
    root: ObjectPath, s3: S3Server, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("wbrag.data.ingest.PART_ROWS", 2500)
    ingest_corpus(_corpus(tmp_path, "one.jsonl.gz", 6000), root / "corpus", format="flashrag")
    written: list[str] = []
    s3.fault = lambda method, path: written.append(path) if method == "PUT" else None
    (tmp_path / "new.jsonl").write_text(
        '{"id": "p3", "text": "Other."}\n{"id": "n", "text": "New."}\n', encoding="utf-8"
    )
    result = update_corpus(tmp_path / "new.jsonl", root / "corpus", format="jsonl", delete=["p4"])
    assert (result.changed, result.added, result.deleted, result.rows) == (1, 1, 1, 6000)
    names = {path.rpartition("/")[2] for path in written} - {""}
    assert names == {REPLACING, "part-00000.parquet", "part-00003.parquet"}
    found = rows_with_ids(corpus_files(root / "corpus"), ["p3", "p4", "n"], ["id", "text"]).to_pylist()
    assert found == [{"id": "p3", "text": "Other."}, {"id": "n", "text": "New."}]


def test_half_a_corpus_is_never_read(root: ObjectPath, s3: S3Server, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("wbrag.data.ingest.PART_ROWS", 2500)
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
    monkeypatch.setattr("wbrag.core.io.watched.FRESH_S", 0.0)
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
    monkeypatch.setattr("wbrag.core.io.watched.FRESH_S", 0.0)
    monkeypatch.setattr(objects, "TRIES", 1)
    token, keys = Keys(root).add("ana", "admin"), Keys(root)
    assert keys.find(token)
    s3.fault = lambda method, path: 503
    assert all(keys.find(token) for _ in range(5))
    with pytest.raises(StoreError):
        Keys(root).all()


# -- several at once ----------------------------------------------------------------------------------------------


def _append(folder: str, writer: int, count: int) -> None:
    log = AppendLog(location(folder), Number)
    for i in range(count):
        log.append([Number(writer * 100 + i)])


def test_two_processes_append_to_one_table_and_no_row_is_lost(root: ObjectPath) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(f"{root}/table", w, 4)) for w in (1, 2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(180)
    assert [process.exitcode for process in writers] == [0, 0]
    rows = AppendLog(root / "table", Number).rows()
    assert sorted(row.n for row in rows) == [*range(100, 104), *range(200, 204)]


def test_of_two_that_decided_on_one_state_only_one_is_written(root: ObjectPath, tmp_path: Path) -> None:
    for folder in (root, tmp_path):
        log = AppendLog(folder / "table", Number)
        log.append([Number(1)], after=-1)
        with pytest.raises(WbragError, match="another commit meanwhile"):
            log.append([Number(2)], after=-1)
        version = log.version
        log.append([Number(3)], after=version)
        with pytest.raises(WbragError, match="another commit meanwhile"):
            log.append([Number(4)], after=version)
        assert sorted(row.n for row in log.rows()) == [1, 3]


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
            elsewhere.setattr("wbrag.units.releases.locked", lambda path: __import__("contextlib").nullcontext())
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
