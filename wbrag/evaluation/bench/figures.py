"""Figures of a suite: the records that its page and its tables are made from, and how parts of a run come together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from wbrag.core.errors import WbragError
from wbrag.enrich.rows import Row
from wbrag.evaluation.bench.comparisons import correct, pooled_over

CELL = ("model", "method", "set")
_RECORDS = ("scores", "comparisons", "construction", "points", "changed", "rankings", "strata", "questions")
_DECIDING = ("corpus", "encoder", "prompts", "seed")
_SETTINGS = ("enrich", "distiller", "methods", "retrieval", "rerank", "retriever")  # the others decide no figure


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
    """The cells of two runs of one suite, those of `after` where both have them; corrected and pooled over all."""
    cells: dict[str, Any] = {} if before is None else {name: _cells(before, after, name) for name in _RECORDS}
    whole = replace(after, **cells)
    for family in (whole.comparisons, whole.strata):
        correct(family)
    pools = whole.made.get("suite", {}).get("pools", {})
    return replace(whole, pooled=pooled_over(whole.comparisons, whole.strata, pools))


def check_same(before: Bench, made: dict[str, Any], where: str) -> None:
    """Raises `WbragError` where figures were made by another corpus, encoder, prompts, settings or model."""
    differ = [name for name in _DECIDING if before.made.get(name) != made.get(name)]
    settings = before.made.get("settings", {}), made.get("settings", {})
    differ += [f"settings of {name}" for name in _SETTINGS if settings[0].get(name) != settings[1].get(name)]
    models = before.made.get("generators", {}), made.get("generators", {})
    differ += [f"model {name}" for name in models[0].keys() & models[1].keys() if models[0][name] != models[1][name]]
    if differ:
        raise WbragError(
            f"expected the suite's earlier figures in {where} to be of the same {', '.join(differ)}, "
            "found others: run the whole suite, or move that file away"
        )


def _cells(before: Bench, after: Bench, name: str) -> list[Row]:
    new = getattr(after, name)
    keys = {tuple(row.get(key) for key in CELL) for row in new}
    return [row for row in getattr(before, name) if tuple(row.get(key) for key in CELL) not in keys] + new
