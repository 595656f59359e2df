"""Repair: the tables of the library mended, and units that are gone written again from the verdicts that made them.

What decisions, checks and releases name is wanted; what no verdict holds any more is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.mend import Mended, mend
from wbrag.core.types import unit_id
from wbrag.enrich.rows import Kind, Row, read_rows
from wbrag.units.learn import Lesson
from wbrag.units.library import Library
from wbrag.units.publish import release_ids
from wbrag.units.table import FROM_TRAFFIC, JUDGED, KEEP_VERSIONS

TABLES = ("decisions", "releases", "checks", "usage", "feedback", "learned")


def repair(library: Library) -> dict[str, Any]:
    """Mend every table, then put back the units that are missing; only a workspace on a disk can be repaired."""
    shelf = library.layout.path / "shelf"
    if not isinstance(shelf, Path):
        raise UsageError(
            f"expected a workspace on a disk, found {library.layout.path}: an object store loses no commit by itself"
        )
    mended = [mend(shelf / name) for name in TABLES]
    mended.append(mend(shelf / "units", "id", KEEP_VERSIONS))
    back, gone = _units(library)
    return {
        "tables": [asdict(one) for one in mended if isinstance(one, Mended)],
        "units_back": back,
        "units_lost": gone,
    }


def _units(library: Library) -> tuple[int, list[str]]:
    """How many units were put back, and the ids that no verdict holds."""
    layout = library.layout
    assert isinstance(layout.path, Path)
    there = {s.unit.id for s in layout.shelf.read()}
    missing = _wanted(library) - there
    if not missing:
        return 0, []
    learned = {lesson.unit_id for lesson in AppendLog(layout.path / "shelf" / "learned", Lesson).rows()}
    for folder, kind, marks in _runs(layout.path):
        rows = [row for row in read_rows(folder, kind).values() if not row["error"] and _id(row) in missing]
        for taught in (False, True):
            some = [row for row in rows if (_id(row) in learned) == taught]
            library.shelve(some, folder.name, **(marks | ({FROM_TRAFFIC: 1.0} if taught else {})))
        missing -= {_id(row) for row in rows}
    now = {s.unit.id for s in layout.shelf.read()}
    return len(now - there), sorted(missing)


def _wanted(library: Library) -> set[str]:
    """Units that a decision, an examination or a release names."""
    layout = library.layout
    found = {d.unit_id for d in layout.decisions.all()} | {e.unit_id for e in layout.results.all()}
    for release in layout.releases.all():
        try:
            found |= release_ids(layout, release)
        except (WbragError, OSError):  # its files are gone; what it held, others may name
            continue
    return found


def _runs(path: Path) -> Iterator[tuple[Path, Kind, dict[str, float]]]:
    """Every run's folder of rows, their kind, and the marks of the units that come from it."""
    for file in sorted(path.glob("verdicts/*/run.json")):
        described = json.loads(file.read_text(encoding="utf-8"))
        judged = described.get("config", {}).get("enrich", {}).get("gate_metric") == "judge"
        yield file.parent, "enrich", {JUDGED: 1.0} if judged else {}
    for file in sorted(path.glob("distilled/*/run.json")):
        yield file.parent, "distil", {}


def _id(row: Row) -> str:
    return unit_id(f"{row.get('unit_title')}\n{row.get('unit_text')}")
