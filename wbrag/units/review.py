"""Usage review: how each unit was used, and the work list that follows from it.

Pure functions over tables that others have read; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from wbrag.units.decisions import State
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


def work_list(
    titles: Mapping[str, str],
    states: Mapping[str, State],
    examined: Mapping[str, Examination],
    uses: Mapping[str, Use],
    published: Mapping[str, int],
) -> list[ReviewItem]:
    """What wants a person's look, most urgent first.

    `titles` names every unit; `published` says, of each unit in the current release, how many answers were served
    while it was.
    """
    found: list[ReviewItem] = []
    for id, title in titles.items():
        state, use, exam = states.get(id, "candidate"), uses.get(id, Use()), examined.get(id)
        if state == "stale":
            found.append(
                ReviewItem(id, title, "stale", "a source changed or its time is up: distil it again, or retire it")
            )
        if use.earlier is not None and use.later is not None and use.earlier - use.later >= RATING_DROP:
            change = f"mean rating fell from {use.earlier:+.2f} to {use.later:+.2f} over {use.up + use.down} ratings"
            found.append(ReviewItem(id, title, "answers turned worse", change))
        if state == "candidate" and exam is not None and not exam.passed:
            found.append(ReviewItem(id, title, "failed a check", "; ".join(c.explanation for c in exam.failed)))
        elif state == "candidate":
            found.append(
                ReviewItem(id, title, "waits for a decision", "passed every check" if exam else "not checked yet")
            )
        if id in published and published[id] >= MIN_ANSWERS and not use.hits:
            found.append(ReviewItem(id, title, "never retrieved", f"in none of {published[id]} answers"))
    order = {reason: i for i, reason in enumerate(("stale", "answers turned worse", "failed a check"))}
    return sorted(found, key=lambda task: (order.get(task.reason, len(order)), task.reason, task.unit_id))
