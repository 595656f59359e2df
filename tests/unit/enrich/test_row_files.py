"""Rows of a run: made block by block as they are looked at, and those that count."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.io.parquet import read_all
from wbrag.enrich import row_files
from wbrag.enrich.row_files import StoredRows, finished, read_rows, write_rows
from wbrag.enrich.rows import ANSWERS, Row


def row(id: str, error: str = "", score: float = 1.0) -> Row:
    return {"id": id, "question": f"{id}?", "prediction": "x", "score": score, "hit_ids": ["p"], "error": error}


def plainly(files: list[list[Row]]) -> dict[str, Row]:
    """What counts, row by row: one that ended well against those that did not; the first of the former."""
    found: dict[str, Row] = {}
    for rows in files:
        for one in rows:
            if one["id"] not in found or found[one["id"]]["error"]:
                found[one["id"]] = one
    return found


ended = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["", "", "lost", "empty"]), st.integers(0, 9))


@given(st.lists(st.lists(ended, max_size=7), max_size=4), st.integers(1, 5))
def test_what_counts_is_what_looking_at_each_row_gives(
    given_files: list[list[tuple[str, str, int]]], block: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(row_files, "BLOCK", block)
        files = [[row(id, error, score) for id, error, score in rows] for rows in given_files]
        stored = StoredRows([pa.Table.from_pylist(rows, ANSWERS) for rows in files], "evaluate")
        expected = plainly(files)
        assert list(stored) == list(expected) and len(stored) == len(expected)
        assert [(r["id"], r["score"], r["error"]) for r in stored.values()] == [
            (r["id"], float(r["score"]), r["error"]) for r in expected.values()
        ]
        assert [id for id, r in stored.items() if r["id"] == id] == list(expected)
        assert stored.errors == {id: r["error"] for id, r in expected.items() if r["error"]}
        ids = sorted(expected, reverse=True)
        assert [r["id"] for r in stored.in_order(ids)] == ids


def test_rows_in_an_order_are_a_sequence(tmp_path: Path) -> None:
    write_rows(tmp_path, "evaluate", [row(f"q{n}", score=n) for n in range(6)], "one")
    write_rows(tmp_path, "evaluate", [row(f"q{n}", score=n) for n in range(6, 9)], "two")
    rows = read_rows(tmp_path, "evaluate").in_order([f"q{n}" for n in (8, 0, 7, 3)])
    assert [r["score"] for r in rows] == [8, 0, 7, 3] and rows[1]["id"] == "q0" and rows[-1]["score"] == 3
    assert [r["score"] for r in rows[1:3]] == [0, 7] and list(rows) == list(rows) and rows == list(rows)
    assert rows[0]["details"] is None, "a column that was not written is None"
    with pytest.raises(KeyError):
        read_rows(tmp_path, "evaluate")["q77"]


def test_what_is_finished_is_seen_without_reading_the_rows(tmp_path: Path) -> None:
    write_rows(tmp_path, "evaluate", [row("a", "lost"), row("b"), row("c", "lost")], "one")
    write_rows(tmp_path, "evaluate", [row("a")], "two")
    assert finished(tmp_path, {"a", "b", "c"}) == {"a", "b"} and finished(tmp_path, {"c"}) == set()
    assert finished(tmp_path / "none", {"a"}) == set()
    assert [t.column_names for t in read_all(sorted(tmp_path.glob("*.parquet")), ["id"])] == [["id"]] * 2
