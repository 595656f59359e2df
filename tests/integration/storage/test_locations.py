"""Paths and files of an object store, against a real S3 server on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.s3_server import S3Server
from wbrag.core.errors import StoreError, UsageError, WbragError
from wbrag.core.io import objects
from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import (
    Location,
    file_in_one_step,
    folder_in_one_step,
    inside,
    listed,
    location,
    opened,
    sha256_of,
    write_atomically,
)
from wbrag.core.io.objects import ObjectPath
from wbrag.core.io.parquet import rows_with_ids


class Number(NamedTuple):
    n: int


def text(path: Location) -> str:
    return path.read_text(encoding="utf-8")


# -- names --------------------------------------------------------------------------------------------------------


def test_a_plain_text_is_a_local_path_and_imports_nothing() -> None:
    code = (
        "import sys; from wbrag.core.io.files import location; from pathlib import Path;"
        "assert location('a/b') == Path('a/b') and location(Path('c')) == Path('c');"
        "assert not {'wbrag.core.io.objects', 'pyarrow'} & set(sys.modules)"
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
    assert path.resolve() == path
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
    AppendLog(root / name / "table", Number).append([Number(1)])
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
    log = AppendLog(root / "table", Number)
    log.append([Number(1)])
    assert log.rows() == [Number(1)]


@pytest.mark.slow
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
        lambda: AppendLog(root / "table", Number).rows(),
        lambda: AppendLog(root / "table", Number).append([Number(1)]),
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
