"""Comparisons: what two libraries' answers to the same questions come to; of all, by stratum, and pooled over sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from wbrag.core.metrics import bootstrap_ci, compare, holm, paired
from wbrag.core.types import Cost
from wbrag.enrich.rows import Row
from wbrag.evaluation.pooled import pool_effects, standard_error
from wbrag.evaluation.strata import counts

COSTS = tuple(field.name for field in fields(Cost) if field.name != "ends")  # means a question
POOLED_BY = ("model", "method", "stratum", "over")


def scored(rows: list[Row]) -> dict[str, Any]:
    """The mean score of one library's answers, where its hits came from, and what an answer cost."""
    answered = [row for row in rows if not row["error"]]
    values = [row["score"] for row in answered]
    origins = [origin for row in rows for origin in row["hit_origins"] or []]
    return {
        "n": len(rows),
        "score": sum(values) / max(1, len(values)),
        "ci95": list(bootstrap_ci(values)),
        "writeback_share": origins.count("writeback") / len(origins) if origins else 0.0,
        "errors": sum(1 for row in rows if row["error"]),
        **{name: sum(row[name] for row in answered) / max(1, len(answered)) for name in COSTS},
        "details": means([json.loads(row["details"]) for row in answered]),
    }


def means(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every figure over the records that have it."""
    found: dict[str, list[float]] = {}
    for name, value in (pair for record in records for pair in record.items()):
        found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def compared(arms: dict[str, list[Row]], other: str) -> dict[str, Any]:
    """Write-back's gain over another library, question by question."""
    before, after = paired(arms[other], arms["writeback"])
    c = compare(before, after)
    se = standard_error([b - a for a, b in zip(before, after)])
    found = {"n": len(after), "gain": c.gain, "gain_ci95": list(c.ci95), "se": se}
    return found | {"p": c.p, "wins": c.wins, "losses": c.losses}


def by_stratum(found: Mapping[str, str], arms: dict[str, list[Row]]) -> list[Row]:
    """The comparisons of one cell, stratum by stratum, by what a question shares with the training questions."""
    rows = []
    for stratum in (name for name, count in counts(found).items() if count > 1):  # one has no spread
        own = {arm: [row for row in given if found[row["id"]] == stratum] for arm, given in arms.items()}
        means = {arm: scored(given)["score"] for arm, given in own.items()}
        rows += [
            {"stratum": stratum, "over": over, "before": means[over], "after": means["writeback"]} | compared(own, over)
            for over in own
            if over != "writeback"
        ]
    return rows


def by_question(found: Mapping[str, str], arms: dict[str, list[Row]]) -> list[Row]:
    """Every question of one cell with its stratum and its score in every library; None where the answer failed."""
    scores: dict[str, dict[str, float | None]] = {id: {} for id in found}
    for arm, rows in arms.items():
        for row in rows:
            scores[row["id"]][arm] = None if row["error"] else row["score"]
    return [{"id": id, "stratum": found[id], "scores": own} for id, own in scores.items()]


def pooled_over(comparisons: Sequence[Row], strata: Sequence[Row], pools: Mapping[str, Sequence[str]]) -> list[Row]:
    """The gains over each library, pooled over the sets of each pool, of all questions and stratum by stratum."""
    found = []
    records: list[Row] = [{"stratum": "all"} | row for row in comparisons] + list(strata)
    for pool, sets in pools.items():
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in records:
            if row["set"] in sets and int(row["n"]) > 1:
                groups.setdefault(tuple(row[name] for name in POOLED_BY), []).append(row)
        for key, own in groups.items():
            if len(own) > 1:
                effect = pool_effects([r["gain"] for r in own], [r["se"] for r in own])
                about = {"pool": pool, "sets": len(own), "n": sum(r["n"] for r in own)}
                found.append(about | dict(zip(POOLED_BY, key)) | effect._asdict())
    correct(found)
    return found


def correct(comparisons: list[Row]) -> None:
    """Sets `p_holm`: over all cells of the grid, for each library (and stratum) that write-back is compared in."""
    for over in {(row["over"], row.get("stratum")) for row in comparisons}:
        family = [row for row in comparisons if (row["over"], row.get("stratum")) == over]
        for row, p in zip(family, holm([row["p"] for row in family])):
            row["p_holm"] = p
