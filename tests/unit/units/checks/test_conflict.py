"""Two sentences about one subject that differ in a value."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Evidence, Passage, Unit
from wbrag.data.demo.world import Fact, build_world, ideal_unit
from wbrag.units.checks import CheckInput, CheckResult, Neighbour
from wbrag.units.checks.conflict import conflict, differ_in_value
from wbrag.units.checks.reading import read

OURS = "The Drawyn yard was opened in 1936."
SETTINGS = ChecksConfig()


def check(
    theirs: str, ours: str = OURS, *, kind: str = "passage", dates: tuple[str, str] = ("", ""), **more: object
) -> CheckResult:
    unit = Unit("Drawyn yard", ours, (), (("p", ""),), ())
    other = {"id": "o", "title": "Bulletin", "cosine": 0.9, "state": "", **more}
    neighbour = Neighbour(text=theirs, kind=kind, updated_at=dates[1], **other)  # type: ignore[arg-type]
    return conflict(CheckInput(unit, (Passage("p", "", ours, updated_at=dates[0]),), (neighbour,)), SETTINGS)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (OURS, "The Drawyn yard was opened in 1937."),
        (OURS, "In 1937 the Drawyn yard was opened."),
        ("The Drawyn yard is run by Ada Vinnor.", "The Drawyn yard is run by Boris Cordan."),
        ("The Drawyn yard closed on 3 May 1936.", "The Drawyn yard closed on May 4, 1936."),
        ("The Drawyn yard employs 1,200 people.", "The Drawyn yard employs 900 people."),
        ("It was opened in 1936.", "The Drawyn yard was opened in 1937."),
        ("The Drawyn yard is built from oak.", "The Drawyn yard is built from carbon fibre."),
    ],
)
def test_another_value_is_a_conflict(ours: str, theirs: str) -> None:
    found = check(theirs, ours)
    assert not found.passed
    assert theirs in found.explanation
    assert "passage o" in found.explanation


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (OURS, OURS),
        (OURS, "The Drawyl yard was opened in 1937."),
        (OURS, "The Drawyn yard was closed in 1937."),
        (OURS, "The Drawyn yard was opened by Ada Vinnor."),
        (OURS, "The Drawyn yard was opened on 4 May 1936."),
        ("The Drawyn yard is run by Ada Vinnor.", "The Drawyn yard is run by Vinnor."),
        ("The Drawyn yard closed in May 1936.", "The Drawyn yard closed on May 4, 1936."),
        ("The Drawyn yard employs 1,200 people.", "The Drawyn yard employs twelve hundred people and 1200 horses."),
        ("The Drawyn yard is built from oak.", "The Drawyn yard is built from old oak."),
        ("The Drawyn yard is built from oak.", "The Drawyn yard closed because of carbon fibre."),
        ("Ada Vinnor runs the Drawyn yard.", "Ada Vinnor runs the Corvane works."),
    ],
)
def test_no_conflict(ours: str, theirs: str) -> None:
    assert check(theirs, ours).passed


def test_what_is_compared() -> None:
    theirs = "The Drawyn yard was opened in 1937."
    assert check(theirs, id="p").passed  # a source of its own
    assert check(theirs, cosine=0.3).passed
    assert check(theirs, dates=("2026-01-02", "2026-01-01")).passed  # older than its sources
    assert not check(theirs, dates=("2026-01-01", "2026-01-02")).passed
    assert not check(theirs, dates=("2026-01-01", "")).passed
    assert not check(theirs, kind="unit", state="approved", dates=("2026-01-02", "2026-01-01")).passed
    assert check(theirs, kind="unit", state="rejected").passed


@pytest.mark.parametrize(
    ("forum", "dates", "passes"),
    [
        (9, ("", ""), True),  # a post of a smaller source refuses nothing
        (10, ("", ""), False),
        (0, ("", ""), False),  # of which nothing is known
        (9, ("2020", "2021"), False),  # what is known to be newer still counts
    ],
)
def test_a_passage_of_a_smaller_source_is_left_to_dissent(forum: int, dates: tuple[str, str], passes: bool) -> None:
    unit = Unit("Drawyn yard", OURS, (), (("p", ""), ("q", "")), (Evidence("p", OURS),), {"witnesses": 1.0})
    theirs = Neighbour("o", "Bulletin", OURS.replace("1936", "1937"), 0.9, "passage", dates[1], source="forum")
    sources = (Passage("p", "", OURS, "archive", updated_at=dates[0]), Passage("q", "", OURS, "unused"))
    subject = CheckInput(unit, sources, (theirs,), (), {"archive": 10, "forum": forum, "unused": 500})
    assert conflict(subject, SETTINGS).passed is passes
    assert not conflict(subject, ChecksConfig(enabled=("conflict",))).passed
    assert not conflict(replace(subject, unit=replace(unit, scores={})), SETTINGS).passed, "nobody was asked"


def test_the_model_decides_where_there_is_one() -> None:
    asked: list[tuple[str, str]] = []

    def nli(pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float, float]]:
        asked.extend(pairs)
        return [(0.1, 0.2, 0.7)] * len(pairs)

    unit = Unit("Drawyn yard", f"{OURS} Rain fell.", (), (), ())
    other = Neighbour("o", "", "The Drawyn yard has stood for ever. The Corvane works burned.", 0.9, "passage")
    found = conflict(CheckInput(unit, (), (other,)), SETTINGS, nli)
    assert (found.passed, found.score, found.threshold) == (False, 0.7, 0.5)
    assert asked == [("The Drawyn yard has stood for ever.", OURS)]


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_true_units_of_one_world_never_conflict_with_its_passages(seed: int) -> None:
    world = build_world(random.Random(seed), clusters=2)
    near = tuple(Neighbour(p.id, p.title, p.text, 0.9, "passage") for p in world.passages)
    for subject in world.subjects:
        found = conflict(CheckInput(Unit(*ideal_unit(world.facts[subject]), (), (), ()), (), near), SETTINGS)
        assert found.passed, found.explanation


@given(st.integers(0, 10_000))
def test_a_false_name_or_year_conflicts_with_the_truth_in_the_same_words(seed: int) -> None:
    world = build_world(random.Random(seed), clusters=1, kind="site")
    fact = next(f for f in world.facts[world.subjects[0]] if f.relation in ("manager", "opened"))
    # Words alone take "the Lorberg office ... Ivan Lorberg" for a sentence about the person, and leave it alone.
    assume(not read(fact.value).content & read(fact.subject.title).content)
    false = Fact(fact.subject, fact.relation, "2001" if fact.value.isdigit() else "Xan Xelwick")
    assert differ_in_value(false.state(0), fact.state(0), fact.subject.title)
