"""Usage review: how each unit was used, and the work list that follows from it.

Pure functions over tables that others have read; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.types import Unit
from wbrag.units.catalogue import Catalogue
from wbrag.units.decisions import Decision, State
from wbrag.units.examinations import Examination
from wbrag.units.usage import Feedback

Reason = Literal["stale", "answers turned worse", "failed a check", "waits for a decision", "never retrieved"]
MIN_ANSWERS = 100  # answers that a release must have served before an unused unit is worth a look
MIN_RATINGS = 4  # ratings in each half before a turn for the worse is one
RATING_DROP = 0.25  # a fall of the mean rating, of 2 at most, that is worth a look


@dataclass(frozen=True)
class Use:
    """How a unit did: answers that had it among their hits, thumbs on these, and the mean rating by half, in order."""

    hits: int = 0
    up: int = 0
    down: int = 0
    last_at: str = ""
    earlier: float | None = None  # mean rating in [-1, 1] of the first half of the rated answers
    later: float | None = None


@dataclass(frozen=True)
class Card:
    """A unit in a list."""

    unit: Unit
    state: State
    examined: Examination | None  # None where the checks have not been run
    use: Use
    decided: Decision | None  # the last decision


@dataclass(frozen=True)
class ReviewItem:
    """One line of the work list."""

    unit_id: str
    title: str
    reason: Reason
    detail: str


def use_of(answers: pa.Table, ratings: Mapping[str, Feedback]) -> dict[str, Use]:
    """Each unit's use over served `answers` (columns request_id, at, hit_ids, hit_origins), in any order."""
    row = pc.list_parent_indices(answers["hit_ids"])
    hits = pa.table(
        {
            "id": pc.list_flatten(answers["hit_ids"]),
            "at": answers["at"].take(row),
            "request_id": answers["request_id"].take(row),
        }
    ).filter(pc.equal(pc.list_flatten(answers["hit_origins"]), "writeback"))
    counted = hits.group_by("id").aggregate([("id", "count"), ("at", "max")]).to_pylist()
    given = pa.array(list(ratings), pa.string())
    rated: dict[str, list[int]] = {}
    for hit in hits.filter(pc.is_in(hits["request_id"], given)).sort_by("at").to_pylist():
        rated.setdefault(hit["id"], []).append(ratings[hit["request_id"]].rating)
    return {c["id"]: _use(c["id_count"], c["at_max"], rated.get(c["id"], [])) for c in counted}


def _use(hits: int, last_at: str, rated: Sequence[int]) -> Use:
    middle = len(rated) // 2
    halves = (rated[:middle], rated[middle:]) if middle >= MIN_RATINGS else ((), ())
    earlier, later = (sum(half) / len(half) if half else None for half in halves)
    return Use(hits, rated.count(1), rated.count(-1), last_at, earlier, later)


def work_list(catalogue: Catalogue, uses: Mapping[str, Use], unretrieved: Collection[str]) -> dict[Reason, list[str]]:
    """What wants a person's look: the ids of units by reason, most urgent first, each in their order.

    `unretrieved`: units of the current release that no answer had among its hits, though enough were served.
    """
    worse = [id for id, use in uses.items() if use.earlier is not None and _drop(use) >= RATING_DROP]
    failed = catalogue.select(["candidate"], check="failed")
    waiting = np.setdiff1d(catalogue.select(["candidate"]), failed)
    found: dict[Reason, list[str]] = {
        "stale": catalogue.ids.take(catalogue.select(["stale"])).to_pylist(),
        "answers turned worse": catalogue.among(worse)[0].to_pylist(),
        "failed a check": catalogue.ids.take(failed).to_pylist(),
        "never retrieved": catalogue.among(unretrieved)[0].to_pylist(),
        "waits for a decision": catalogue.ids.take(waiting).to_pylist(),
    }
    return {reason: sorted(ids) for reason, ids in found.items() if ids}


def item(card: Card, reason: Reason, answers: int = 0) -> ReviewItem:
    """The line of a unit; `answers`: how many were served while it was in a release."""
    use, exam, detail = card.use, card.examined, ""
    if reason == "stale":
        detail = "a source changed or its time is up: distil it again, or retire it"
    elif reason == "answers turned worse":
        change = f"mean rating fell from {use.earlier or 0:+.2f} to {use.later or 0:+.2f}"
        detail = f"{change} over {use.up + use.down} ratings"
    elif reason == "failed a check" and exam is not None:
        detail = "; ".join(check.explanation for check in exam.failed)
    elif reason == "never retrieved":
        detail = f"in none of {answers} answers"
    else:
        detail = "passed every check" if exam else "not checked yet"
    return ReviewItem(card.unit.id, card.unit.title, reason, detail)


def _drop(use: Use) -> float:
    return (use.earlier or 0.0) - (use.later or 0.0)
