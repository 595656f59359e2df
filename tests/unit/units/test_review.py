from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from wbrag.core.io.schemas import to_table
from wbrag.core.types import Unit
from wbrag.units.catalogue import Catalogue
from wbrag.units.checks import CheckResult
from wbrag.units.decisions import State
from wbrag.units.examinations import Examination, Finding
from wbrag.units.review import MIN_RATINGS, Card, Reason, Use, item, use_of, work_list
from wbrag.units.table import UnitTable
from wbrag.units.usage import Feedback, Served

UNIT = Unit("T", "Text.", ("q",), (), ())


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


def catalogue(folder: Path, titles: Sequence[str], states: dict[str, State], failed: Sequence[str] = ()) -> Catalogue:
    """Of units with these titles, whose ids are found by them; those that failed a check, and all others examined."""
    shelf = UnitTable(folder / "units")
    units = [Unit(title, f"About {title}.", (f"q {title}",), (), ()) for title in titles]
    shelf.add(units, np.eye(len(units), dtype=np.float32), "e", 1.1)
    known = {unit.title: unit.id for unit in units}
    found = {
        known[title]: Finding("f", ("grounding",) if title in failed else ()) for title in titles if title != "new"
    }
    return Catalogue(shelf, {known[title]: state for title, state in states.items()}, found)


def named(found: Catalogue, work: Mapping[Reason, Sequence[str]]) -> dict[Reason, list[str]]:
    titles = dict(zip(found.ids.to_pylist(), found.titles.to_pylist(), strict=True))
    return {reason: sorted(titles[id] for id in ids) for reason, ids in work.items()}


def test_a_turn_for_the_worse_is_seen_once_there_are_ratings_enough(tmp_path: Path) -> None:
    found = catalogue(tmp_path, ["a"], {"a": "approved"})
    [id] = found.ids.to_pylist()
    worse = [served(n, id) for n in range(2 * MIN_RATINGS)]
    use = use_of(table(*worse), thumbs(*[1] * MIN_RATINGS, *[-1] * MIN_RATINGS))[id]
    assert (use.earlier, use.later) == (1.0, -1.0)
    assert work_list(found, {id: use}, ()) == {"answers turned worse": [id]}
    line = item(Card(UNIT, "approved", None, use, None), "answers turned worse")
    assert line.detail == "mean rating fell from +1.00 to -1.00 over 8 ratings"
    few = use_of(table(*worse[:-2]), thumbs(*[1] * (MIN_RATINGS - 1), *[-1] * (MIN_RATINGS - 1)))[id]
    assert few.earlier is None and work_list(found, {id: few}, ()) == {}


def test_the_work_list_says_why_and_puts_the_urgent_first(tmp_path: Path) -> None:
    states: dict[str, State] = {"old": "stale", "idle": "approved", "used": "approved"}
    found = catalogue(tmp_path, ["good", "new", "bad", "old", "idle", "used"], states, failed=["bad"])
    ids = dict(zip(found.titles.to_pylist(), found.ids.to_pylist(), strict=True))
    work = work_list(found, {ids["used"]: Use(hits=3)}, [ids["idle"]])
    assert list(work) == ["stale", "failed a check", "never retrieved", "waits for a decision"]
    assert named(found, work) == {
        "stale": ["old"],
        "failed a check": ["bad"],
        "never retrieved": ["idle"],
        "waits for a decision": ["good", "new"],
    }


def test_a_line_says_what_was_found() -> None:
    bad = Examination("bad", "", "f", (CheckResult("grounding", False, 0.1, 0.7, "'1931' is in no source"),))
    good = Examination("good", "", "f", (CheckResult("grounding", True, 1.0, 0.7, "fine"),))

    def told(exam: Examination | None, reason: Reason) -> str:
        return item(Card(UNIT, "candidate", exam, Use(), None), reason, 100).detail

    assert told(bad, "failed a check") == "'1931' is in no source"
    assert told(good, "waits for a decision") == "passed every check"
    assert told(None, "waits for a decision") == "not checked yet"
    assert told(good, "never retrieved") == "in none of 100 answers"
