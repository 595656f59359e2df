"""The checks that compare stored figures, and all of them together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Evidence, Passage, Unit
from wbrag.units.checks import CHECKS, CheckInput, CheckResult, Neighbour, passed, run, unit_trust
from wbrag.units.checks.novelty import novelty
from wbrag.units.checks.recorded import leakage, round_trip
from wbrag.units.checks.sources import trust

SETTINGS = ChecksConfig()
SOURCE = Passage("p", "Kites", "The kite flies over Oslo.", "archive")
UNIT = Unit("Kites", SOURCE.text, ("q",), (("p", SOURCE.content_hash),), (Evidence("p", SOURCE.text),))


def of(unit: Unit = UNIT, *neighbours: Neighbour, sources: tuple[Passage, ...] = (SOURCE,)) -> CheckInput:
    return CheckInput(unit, sources, neighbours)


def near(id: str, cosine: float, **more: str) -> Neighbour:
    return Neighbour(id, "Kites", "A kite.", cosine, **{"kind": "passage", **more})  # type: ignore[arg-type]


def test_run_makes_the_enabled_checks_only() -> None:
    assert [c.name for c in run(of(), SETTINGS)] == list(CHECKS)
    assert passed(run(of(), SETTINGS))
    assert [c.name for c in run(of(), ChecksConfig(enabled=("trust", "leakage")))] == ["leakage", "trust"]
    assert passed([])
    assert not passed([CheckResult("a", True, None, None, ""), CheckResult("b", False, None, None, "")])


def test_every_check_reports_under_its_own_name() -> None:
    assert all(check(of(), SETTINGS, None).name == name for name, check in CHECKS.items())


@pytest.mark.parametrize(
    ("unit", "kept", "slack", "passes"), [(1.0, 1.0, 0.0, True), (0.4, 0.5, 0.0, False), (0.4, 0.5, 0.1, True)]
)
def test_round_trip_is_equation_11(unit: float, kept: float, slack: float, passes: bool) -> None:
    found = round_trip(of(replace(UNIT, scores={"s_unit": unit, "s_kept": kept})), ChecksConfig(round_trip=slack))
    assert (found.passed, found.score, found.threshold) == (passes, unit, kept - slack)


def test_what_was_not_measured_passes_and_says_so() -> None:
    for found in (round_trip(of(), SETTINGS), leakage(of(), SETTINGS)):
        assert found.passed
        assert found.score is None
        assert "not measured" in found.explanation


@pytest.mark.parametrize(("unit", "sources", "passes"), [(1, 1, True), (1, 0, False), (0, 0, True), (0, 1, True)])
def test_leakage(unit: float, sources: float, passes: bool) -> None:
    scores = {"answer_in_unit": float(unit), "answer_in_sources": float(sources)}
    assert leakage(of(replace(UNIT, scores=scores)), SETTINGS).passed == passes


def test_novelty_names_the_nearest_that_counts() -> None:
    found = novelty(of(UNIT, near("a", 0.5), near("b", 0.99)), SETTINGS)
    assert not found.passed
    assert found.score == 0.99
    assert "passage b" in found.explanation
    assert novelty(of(UNIT, near("a", 0.97)), SETTINGS).passed
    assert not novelty(of(UNIT, near("a", 0.97)), ChecksConfig(novelty=0.97)).passed
    assert novelty(of(UNIT, near(UNIT.id, 1.0, kind="unit")), SETTINGS).score == 0.0
    assert novelty(of(UNIT, near("u", 1.0, kind="unit", state="rejected")), SETTINGS).passed
    assert not novelty(of(UNIT, near("u", 1.0, kind="unit", state="approved")), SETTINGS).passed


def test_trust_is_the_lowest_of_the_sources() -> None:
    doubtful = Passage("f", "Talk", "Hm.", "forum", trust=0.3)
    found = trust(of(sources=(SOURCE, doubtful)), SETTINGS)
    assert (found.passed, found.score, found.threshold) == (False, 0.3, 0.5)
    assert "f (forum)" in found.explanation
    assert trust(of(sources=(SOURCE, doubtful)), ChecksConfig(source_trust={"forum": 0.9})).score == 0.9
    assert trust(of(), ChecksConfig(source_trust={"archive": 0.1})).score == 0.1
    assert unit_trust([SOURCE, doubtful], SETTINGS) == 0.3
    assert unit_trust([], SETTINGS) == 0.0


def test_a_unit_whose_sources_have_all_gone_is_not_trusted() -> None:
    found = trust(of(sources=()), ChecksConfig(min_trust=0.0))
    assert not found.passed
    assert "corpus" in found.explanation
