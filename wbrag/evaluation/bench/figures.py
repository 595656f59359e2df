"""Figures of a suite: the records that its page and its tables are made from, and how parts of a run come together."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

from wbrag.enrich.rows import Row
from wbrag.evaluation.bench.comparisons import correct, pooled_over

log = logging.getLogger(__name__)
CELL = ("model", "method", "set")
_RECORDS = ("scores", "comparisons", "construction", "points", "changed", "strata", "questions")


@dataclass(frozen=True)
class Bench:
    """What a suite came to, so far: a record per score, paired comparison, construction of a library, point of a study,
    and held-out question whose verdict write-back changed (the first few of each cell)."""

    name: str
    scores: list[Row]
    comparisons: list[Row]
    construction: list[Row]
    points: list[Row]
    changed: list[Row]
    made: dict[str, Any] = field(default_factory=dict)  # what it takes to repeat it
    rankings: list[Row] = field(default_factory=list)  # of retrievers that learn, a record a way
    strata: list[Row] = field(default_factory=list)  # comparisons, among questions of one stratum
    pooled: list[Row] = field(default_factory=list)  # comparisons over several sets
    questions: list[Row] = field(default_factory=list)  # every held-out question with its score in every library


def joined(before: Bench | None, after: Bench) -> Bench:
    """The cells of two runs of one suite in its order, corrected and pooled over all; those of `after` replace others.

    Of `before` only those stay that the suite still has, and that were made of what it would make them of now: both
    name that in `made["cells"]`, "" where the later run did not read the examples, and the earlier one's word stands.
    Rankings and points across cells are of whole runs, which join nothing.
    """
    cells = _together(before, after) if before else {}
    then = before.made.get("cells", {}) if before else {}
    known = {cell: made_of or then.get(cell, "") for cell, made_of in after.made.get("cells", {}).items()}
    whole = replace(after, **cells, made=after.made | ({"cells": known} if known else {}))
    for family in (whole.comparisons, whole.strata):
        correct(family)
    pools = whole.made.get("suite", {}).get("pools", {})
    return replace(whole, pooled=pooled_over(whole.comparisons, whole.strata, pools))


def _together(before: Bench, after: Bench) -> dict[str, Any]:
    then, now = before.made.get("cells", {}), after.made.get("cells", {})
    order = {cell: place for place, cell in enumerate(now)}
    run = {cell_of(row) for row in after.scores}
    kept = {cell for cell, made_of in now.items() if then.get(cell) and made_of in ("", then[cell])} - run
    if lost := {cell_of(row) for row in before.scores} - kept - run:
        log.warning("earlier cells that the suite would make otherwise now are left out: %s", ", ".join(sorted(lost)))
    return {
        name: sorted(
            [row for row in getattr(before, name) if cell_of(row) in kept] + getattr(after, name),
            key=lambda row: order.get(cell_of(row), len(order)),
        )
        for name in _RECORDS
    }


def cell_of(row: Row) -> str:
    """The name of a record's cell in `made["cells"]`."""
    return "; ".join(str(row[name]) for name in CELL)
