"""Repair: the tables of the library mended, and units that are gone written again from the verdicts that made them.

What decisions, checks and releases name is wanted; what no verdict holds any more is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.mend import Mended, mend
from wbrag.core.types import Unit, unit_id
from wbrag.enrich.row_files import read_rows
from wbrag.enrich.rows import Kind, Row, unit_of
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.units.correct import NO_TWIN
from wbrag.units.learn import Lesson
from wbrag.units.library import Library
from wbrag.units.release_contents import release_ids
from wbrag.units.stored import FROM_TRAFFIC, JUDGED
from wbrag.units.table import KEEP_VERSIONS

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
    back, gone, unread = _units(library)
    return {
        "tables": [asdict(one) for one in mended if isinstance(one, Mended)],
        "units_back": back,
        "units_lost": gone,
        "runs_unread": unread,
    }


def _units(library: Library) -> tuple[int, list[str], list[str]]:
    """How many units were put back, the ids that no verdict holds, and runs that cannot be read."""
    layout = library.layout
    assert isinstance(layout.path, Path)
    there = set(layout.shelf.ids())
    missing, unread = _wanted(library) - there, list[str]()
    if not missing:
        return 0, [], []
    learned = {lesson.unit_id for lesson in AppendLog(layout.path / "shelf" / "learned", Lesson).rows()}
    found: dict[str, Unit] = {}
    for file, kind in _runs(layout.path):
        try:
            described = json.loads(file.read_text(encoding="utf-8"))
            judged = kind == "distil" or described["config"]["enrich"]["gate_metric"] == "judge"
            made_with = {
                "model": f"{described['config']['generator']['model']}@{described.get('generator', '')}",
                "prompt_version": str(described.get("prompt_version", "")),
                "config_fingerprint": file.parent.name,
            }
            rows = read_rows(file.parent, kind).values()
        except (WbragError, OSError, ValueError, KeyError, TypeError):
            unread.append(file.parent.name)
            continue
        for row in rows:
            if not row["error"] and (id := _id(row)) in missing and id not in found:
                marks = {FROM_TRAFFIC: 1.0} if id in learned else {JUDGED: 1.0} if judged else {}
                unit = unit_of(row, **made_with)
                found[id] = replace(unit, scores=unit.scores | marks)
    if found:
        units, encoder = list(found.values()), encoder_fingerprint(library.config.encoder)
        layout.shelf.add(units, library.models.embed([u.contents for u in units]), encoder, NO_TWIN)
    return len(found), sorted(missing - found.keys()), unread


def _wanted(library: Library) -> set[str]:
    """Units that a decision, an examination or a release names."""
    layout = library.layout
    found = layout.decisions.states().keys() | layout.results.findings().keys()
    for release in layout.releases.all():
        try:
            found |= release_ids(layout, release)
        except (WbragError, OSError):  # its files are gone; what it held, others may name
            continue
    return found


def _runs(path: Path) -> Iterator[tuple[Path, Kind]]:
    """The description of every run, and the kind of its rows; verdicts first, whose gates are known."""
    for file in sorted(path.glob("verdicts/*/run.json")):
        yield file, "enrich"
    for file in sorted(path.glob("distilled/*/run.json")):  # refreshed, or learned: what backed the unit is not kept
        yield file, "distil"


def _id(row: Row) -> str:
    return unit_id(f"{row.get('unit_title')}\n{row.get('unit_text')}")
