"""The check `dissent`: one vote a source, weighted with trust and with the source's standing in the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Evidence, Hit, Passage, Unit, Witness
from wbrag.enrich.enrich import WrittenUnit
from wbrag.units.checks import CheckInput, Voice, worth_witnesses
from wbrag.units.checks.dissent import about_subject, dissent
from wbrag.units.stored import FROM_TRAFFIC, JUDGED

CORPUS = {"archive": 2000, "forum": 200, "large": 9000, "trusted": 10}
Said = tuple[str, bool]  # a source, and whether its passage agrees


def check(
    said: Sequence[Said], own: str = "archive", corpus: dict[str, int] | None = None, **scores: float
) -> tuple[bool, str]:
    unit = Unit("Mirrow Light", "Odran Pell built it.", ("q",), (("p0", "aa"),), (), {"witnesses": 1.0, **scores})
    trust = {"trusted": 1000.0}
    voices = tuple(
        Voice(Witness(f"w{n}", "Mirrow Light", "", f"It was built by {n}.", agrees), source, trust.get(source, 1.0))
        for n, (source, agrees) in enumerate(said)
    )
    sources = (Passage("p0", "Mirrow Light", "", own),)
    settings = ChecksConfig(source_trust=trust)
    found = dissent(CheckInput(unit, sources, (), voices, CORPUS if corpus is None else corpus), settings)
    return found.passed, found.explanation


A, F = ("archive", True), ("forum", True)
NOT_A, NOT_F = ("archive", False), ("forum", False)


@pytest.mark.parametrize(
    ("said", "own", "passes"),
    [
        ([], "archive", True),  # labels back it, and nobody says otherwise
        ([A, A], "archive", True),
        ([NOT_A], "archive", False),  # its source's other passages say otherwise
        ([A, A, NOT_A], "archive", True),  # most of them do not
        ([A, NOT_A], "archive", True),
        ([NOT_F, NOT_F, NOT_F], "archive", True),  # five passages of a forum are one vote, and less in the corpus
        ([NOT_A], "forum", False),  # the poison
        ([F, F, F, F, NOT_A], "forum", False),  # with decoys
        ([("n1", True), ("n2", True), ("n3", True), NOT_A], "forum", False),  # under many names
        ([("n1", False), ("n2", False), A], "archive", True),  # nor do names of two passages silence it
        ([("large", False), NOT_A], "large", False),
        ([("large", False)], "archive", False),
        ([("large", False)], "trusted", True),  # trust can make up for size
    ],
)
def test_who_outweighs_whom(said: list[Said], own: str, passes: bool) -> None:
    assert check(said, own)[0] is passes


def test_it_says_who_dissents() -> None:
    passed, why = check([NOT_A], "forum")
    assert not passed and why == "1 of 2 sources dissent: w0 (Mirrow Light) says “It was built by 0.”"


@pytest.mark.parametrize("mark", [FROM_TRAFFIC, JUDGED])
def test_what_no_label_backs_needs_somebody_else(mark: str) -> None:
    assert check([F, F], "forum", **{mark: 1.0}) == (
        False,
        "nobody else speaks for it, and no label does: a person decides",
    )
    assert check([], "archive", **{mark: 1.0})[0] is False
    assert check([A], "forum", **{mark: 1.0})[0]
    most = {"archive": 2000, "forum": 200}
    assert check([A], "archive", most, **{mark: 1.0})[0], "most of the corpus is from there"


def test_a_unit_whose_witnesses_were_not_asked_is_not_measured() -> None:
    unit = Unit("Mirrow Light", "Odran Pell built it.", ("q",), (), ())
    assert dissent(CheckInput(unit, ()), ChecksConfig()).passed


@pytest.mark.parametrize(
    ("title", "sentence", "passage", "about"),
    [
        ("Mirrow Light", "Mirrow Light was built by Ines Vart.", "Notes", True),
        ("Mirrow Light", "It was built by Ines Vart.", "Mirrow Light", True),
        ("Mirrow Light", "The quay was built by Ines Vart.", "Quay of Tarn", False),
        ("Mirrow Light", "Mirrow Light stands there. It was built by Ines Vart.", "Notes", True),
        ("Mirrow Light", "Mirrow Light stands there. The quay was built by Ines Vart.", "Notes", False),
        ("gravity", "gravity was described by Newton.", "notes", True),
        ("gravity", "light was described by Newton.", "optics", False),
    ],
)
def test_only_sentences_about_the_subject_count(title: str, sentence: str, passage: str, about: bool) -> None:
    assert about_subject(Witness("w", passage, "", sentence, False), title) is about


votes = st.lists(st.tuples(st.sampled_from(["archive", "forum", "n1", "n2"]), st.booleans()), max_size=8)


@given(votes, st.sampled_from(["archive", "forum"]))
def test_one_more_voice_for_it_never_holds_it_back(said: list[Said], own: str) -> None:
    for source in ("archive", "forum", "n1", "new"):
        before, after = check(said, own)[0], check([*said, (source, True)], own)[0]
        assert after or not before


@given(votes, st.sampled_from(["archive", "forum"]), st.integers(1, 5))
def test_a_source_says_as_much_with_ten_passages_as_with_one(said: list[Said], own: str, times: int) -> None:
    assert check(said, own)[0] is check(said * times, own)[0]


@pytest.mark.parametrize(
    ("figures", "settings", "worth"),
    [
        ({}, {}, True),
        ({"s_unit": 0.9, "s_kept": 1.0}, {}, False),  # the round trip refuses it
        ({"s_unit": 0.9, "s_kept": 1.0}, {"round_trip": 0.2}, True),
        ({"answer_in_unit": True, "answer_in_sources": False}, {}, False),
        ({"answer_in_unit": True, "answer_in_sources": False}, {"enabled": ("grounding", "dissent")}, True),
    ],
)
def test_only_units_that_the_cheap_checks_let_by_are_worth_witnesses(
    figures: dict[str, Any], settings: dict[str, Any], worth: bool
) -> None:
    text = "Odran Pell built Mirrow Light."
    unit = Unit("Mirrow Light", text, ("q",), (("p0", ""),), (Evidence("p0", text),))
    documents = [Hit("p0", "Mirrow Light", text, 1.0)]
    assert (
        worth_witnesses(ChecksConfig(**settings), WrittenUnit(unit, False, False, 9, 5, **figures), documents) is worth
    )
    other = replace(unit, text="Ines Vart built Mirrow Light.")
    assert not worth_witnesses(ChecksConfig(), WrittenUnit(other, False, False, 9, 5), documents), "not grounded"


def test_a_source_that_was_kept_and_not_used_stands_for_nothing() -> None:
    """The gate may keep a passage that says the contrary: what no evidence is from has no vote for the unit."""
    unit = Unit("Mirrow Light", "x", ("q",), (("p0", ""), ("p1", "")), (Evidence("p0", "x"),), {"witnesses": 1.0})
    sources = (Passage("p0", "", "", "forum"), Passage("p1", "", "", "archive"))
    voices = (Voice(Witness("w", "Mirrow Light", "", "It was built by Ines.", False), "museum", 1.0),)
    sizes = {"forum": 20, "archive": 2000, "museum": 1500}
    assert not dissent(CheckInput(unit, sources, (), voices, sizes), ChecksConfig()).passed
