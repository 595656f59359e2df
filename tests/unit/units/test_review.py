from __future__ import annotations

import pyarrow as pa

from wbrag.core.io.schemas import to_table
from wbrag.units.checks import CheckResult
from wbrag.units.examinations import Examination
from wbrag.units.review import MIN_ANSWERS, MIN_RATINGS, Use, use_of, work_list
from wbrag.units.usage import Feedback, Served


def table(*answers: Served) -> pa.Table:
    return to_table(Served, answers)


def served(n: int, *ids: str, origin: str = "writeback") -> Served:
    return Served(
        f"r{n}",
        f"2026-01-01T00:00:{n:02d}",
        "",
        "r0001",
        "naive",
        "qa",
        "",
        "",
        ids,
        (origin,) * len(ids),
        (0.9,) * len(ids),
        0.1,
    )


def thumbs(*ratings: int) -> dict[str, Feedback]:
    return {f"r{n}": Feedback(f"r{n}", "2026-01-02", "", rating) for n, rating in enumerate(ratings)}


def test_hits_and_thumbs_are_counted_for_units_alone() -> None:
    uses = use_of(table(served(1, "a"), served(0, "a", "b"), served(2, "p", origin="base")), thumbs(1, -1, 1))
    assert uses == {"a": Use(2, 1, 1, "2026-01-01T00:00:01"), "b": Use(1, 1, 0, "2026-01-01T00:00:00")}


def test_a_turn_for_the_worse_is_seen_once_there_are_ratings_enough() -> None:
    worse = [served(n, "a") for n in range(2 * MIN_RATINGS)]
    use = use_of(table(*worse), thumbs(*[1] * MIN_RATINGS, *[-1] * MIN_RATINGS))["a"]
    assert (use.earlier, use.later) == (1.0, -1.0)
    [task] = work_list({"a": "A"}, {"a": "approved"}, {}, {"a": use}, {"a": 8})
    assert (task.reason, task.detail) == ("answers turned worse", "mean rating fell from +1.00 to -1.00 over 8 ratings")
    few = use_of(table(*worse[:-2]), thumbs(*[1] * (MIN_RATINGS - 1), *[-1] * (MIN_RATINGS - 1)))["a"]
    assert few.earlier is None and work_list({"a": "A"}, {"a": "approved"}, {}, {"a": few}, {"a": 8}) == []


def test_the_work_list_says_why_and_puts_the_urgent_first() -> None:
    exams = {
        "bad": Examination("bad", "", "f", (CheckResult("grounding", False, 0.1, 0.7, "'1931' is in no source"),)),
        "good": Examination("good", "", "f", (CheckResult("grounding", True, 1.0, 0.7, "fine"),)),
    }
    titles = {id: id.upper() for id in ("good", "new", "bad", "old", "idle", "used")}
    states = {"old": "stale", "idle": "approved", "used": "approved"}
    published = {"idle": MIN_ANSWERS, "used": MIN_ANSWERS}
    tasks = work_list(titles, states, exams, {"used": Use(hits=3)}, published)  # type: ignore[arg-type]
    assert [(t.unit_id, t.reason) for t in tasks] == [
        ("old", "stale"),
        ("bad", "failed a check"),
        ("idle", "never retrieved"),
        ("good", "waits for a decision"),
        ("new", "waits for a decision"),
    ]
    assert tasks[1].detail == "'1931' is in no source"
    assert [t.detail for t in tasks[3:]] == ["passed every check", "not checked yet"]
