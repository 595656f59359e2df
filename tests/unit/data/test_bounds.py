"""Small files that would fill the memory: refused in one sentence, in little memory."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from wbrag.core.errors import WbragError
from wbrag.data import bounds
from wbrag.data.opening import open_lines
from wbrag.data.readers import json_items, json_lines, json_records
from wbrag.data.source import Input
from wbrag.data.tables import csv_rows
from wbrag.methods.planner import sub_questions

MEMORY = 64 << 20  # bytes at any moment


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_RECORD", 1 << 20)


def peak(read: object) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(WbragError) as refused:
            list(read)  # type: ignore[call-overload]
        assert len(str(refused.value)) < 400 and ":" in str(refused.value)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("inner", ['{"a":', "["])
@pytest.mark.parametrize("as_list", [True, False])
def test_a_deep_file_takes_no_memory(tmp_path: Path, inner: str, as_list: bool) -> None:
    file = tmp_path / "deep.json"
    file.write_text("[" * as_list + inner * 40_000)
    assert peak(json_records(Input(str(file)))) < MEMORY
    file.write_text('{"data": ' + inner * 40_000)
    assert peak(json_items(Input(str(file)), "data")) < MEMORY


@pytest.mark.parametrize("head", ['{"id": "1", "contents": "', "[", '["', '[{"id": "'])
def test_a_record_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, head: str) -> None:
    file = tmp_path / "bomb.jsonl.gz"
    with gzip.open(file, "wb") as out:
        out.write(head.encode())
        for _ in range(64):
            out.write((b"1," if head == "[" else b"xx") * (1 << 19))
    assert file.stat().st_size < 1 << 19
    assert peak(json_records(Input(str(file)))) < MEMORY


def test_long_lines_of_every_kind(tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text("id,text\n1," + "x" * (1 << 21) + "\n")
    with pytest.raises(WbragError, match=r"long.csv, line 2: expected at most 1,048,576 characters in a line"):
        list(csv_rows(Input(str(file))))
    with open_lines(file) as lines, pytest.raises(WbragError, match="split the document"):
        list(lines)
    file.write_text("id,text\n1," + '"' + "xx\n" * (1 << 20))
    with pytest.raises(WbragError, match="expected CSV, found it malformed .field larger than field limit"):
        list(csv_rows(Input(str(file))))


def test_what_is_within_the_bounds_is_read(tmp_path: Path) -> None:
    rows = [{"id": str(i), "contents": "x" * (1 << 19), "more": [[[{"a": 1.5}]]]} for i in range(4)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row for _, row in json_records(Input(str(tmp_path / "a.json")))] == rows
    assert [row for _, row in json_lines(Input(str(tmp_path / "a.jsonl")))] == rows
    assert sub_questions("[" * 50_000 + "]" * 50_000, "Which?") == ["Which?"]
