"""What one source may have let in by the policy, of a release and for one question."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.types import Evidence, Unit
from wbrag.units.allowance import ALWAYS, PER_QUESTION, Claim, allowed

SOURCES = {"a": "archive", "f": "forum"}
CORPUS = {"archive": 900, "forum": 100}


def unit(number: int, *passages: str, question: str = "") -> Claim:
    made = Unit(f"T{number}", f"Text {number}.", (question or f"q{number}",), tuple((id, "") for id in passages), ())
    return Claim.of(made)


def test_a_source_is_held_to_three_times_its_share() -> None:
    standing = [unit(n, "a") for n in range(100)]
    more = [unit(100 + n, "f") for n in range(100)]
    found, waiting = allowed(more, standing, SOURCES, CORPUS, 3.0)
    assert len(found) == 42 and waiting == {"forum": 58}  # 3 x 10% of the 142 that the library then has


def test_small_libraries_and_a_corpus_of_one_source_are_not_held() -> None:
    few = [unit(n, "f") for n in range(ALWAYS)]
    assert allowed(few, [], SOURCES, CORPUS, 3.0) == (few, {})
    many = [unit(n, "a") for n in range(500)]
    assert allowed(many, [], SOURCES, {"archive": 7}, 3.0)[0] == many
    assert allowed(many, [], SOURCES, {}, 3.0)[0] == many, "an outside store is not counted"


def test_one_question_takes_so_many_units_of_a_source() -> None:
    same = [unit(n, "f", question="q") for n in range(9)]
    found, waiting = allowed(same, [], SOURCES, CORPUS, 3.0)
    assert len(found) == PER_QUESTION and waiting["forum"] == 9 - PER_QUESTION
    assert allowed([unit(50, "a", question="q")], same[:3], SOURCES, CORPUS, 3.0)[0], "another source has its own"


def test_a_source_is_charged_for_what_its_evidence_is_from() -> None:
    """An archive unit that kept a forum's passage beside its own, and took nothing from it, is the archive's."""
    full = [unit(n, "f") for n in range(ALWAYS)]
    mixed = Unit("T", "Text.", ("q",), (("a", ""), ("f", "")), (Evidence("a", "Text."),))
    assert allowed([mixed], full, SOURCES, CORPUS, 3.0) == ([mixed], {})


@given(st.lists(st.sampled_from([("a",), ("f",), ("a", "f"), ("gone",)]), max_size=120), st.floats(0.1, 5))
def test_every_candidate_is_let_in_or_counted_and_no_source_goes_beyond(
    kinds: list[tuple[str, ...]], times: float
) -> None:
    candidates = [unit(n, *passages) for n, passages in enumerate(kinds)]
    found, waiting = allowed(candidates, [], SOURCES, CORPUS, times)
    assert len(found) + sum(waiting.values()) == len(candidates)
    for id, name in SOURCES.items():
        mine = sum(id in u.drawn_from for u in found)
        assert mine <= max(ALWAYS, times * CORPUS[name] / 1000 * len(found) + 1)
