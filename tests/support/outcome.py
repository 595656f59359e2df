"""What a run left behind, for tests that break it: no row lost, none doubled, all as in an unbroken run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

VOLATILE = {"seconds"}  # fields that differ between two runs that say the same
ROUNDING = 5e-6  # of `hit_scores`: their last digit depends on which queries were embedded in one batch
Row = dict[str, Any]


def rows_of(folder: Path) -> dict[str, Row]:
    """Every row below `folder` by id; of a row that failed and then succeeded, the success.

    `folder` is one run's (`verdicts/<fingerprint>`, `answers/<fingerprint>`) or holds only that. Raises
    `AssertionError` where an id finished twice, or stands twice in one file, even as an error.
    """
    files = [file for file in sorted(folder.rglob("*.parquet")) if not file.name.startswith(".")]
    assert len({file.parent for file in files}) <= 1, f"expected one run's rows in {folder}, found those of several"
    rows: dict[str, Row] = {}
    doubled: set[str] = set()
    for file in files:
        read = pq.read_table(file).to_pylist()
        ids = [row["id"] for row in read]
        doubled |= {id for id in ids if ids.count(id) > 1}
        finished = {row["id"]: row for row in read if not row["error"]}
        doubled |= {id for id in finished if id in rows and not rows[id]["error"]}
        rows = {row["id"]: row for row in read} | rows | finished
    assert not doubled, f"expected every row once in {folder}, found doubled {sorted(doubled)}"
    return rows


def assert_same(one: Path, other: Path, but: Collection[str] = ()) -> None:
    """Both folders hold the same ids, and the same rows for all `but` those named, apart from `VOLATILE` fields.

    Of a row that failed on both sides the reason may read differently: it names addresses and seconds.
    """
    left, right = rows_of(one), rows_of(other)
    assert left.keys() == right.keys(), f"only in one of the two: {sorted(left.keys() ^ right.keys())}"
    for id in sorted(left.keys() - set(but)):
        assert _settled(left[id]) == _settled(right[id]), f"row {id} differs"
        scores = (row.get("hit_scores") or [] for row in (left[id], right[id]))
        assert all(abs(a - b) < ROUNDING for a, b in zip(*scores, strict=True)), f"the scores of row {id} differ"


def _settled(row: Row) -> Row:
    kept = {name: value for name, value in row.items() if name not in VOLATILE | {"hit_scores"}}
    return kept | {"error": bool(row["error"])}


def one_sentence(stderr: str) -> str:
    """The one line that wbrag says, with nothing of a traceback around it."""
    assert "Traceback" not in stderr, stderr
    [line] = [line for line in stderr.splitlines() if line.startswith("wbrag: ")]
    return line
