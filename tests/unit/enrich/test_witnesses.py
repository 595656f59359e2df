"""Witnesses: whom a unit's question is put to, in which order, when asking ends, and what counts as an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.fakes import TableRetriever
from tests.support.scripted import ScriptedGenerator
from wbrag.core.errors import PromptTooLong
from wbrag.core.tasks import task
from wbrag.core.types import Hit, Messages, Sampling, Unit, Witness
from wbrag.enrich.witnesses import LEAD, TOGETHER, said_by, witnesses
from wbrag.methods import Rag

QUESTION = "who built Mirrow Light?"
UNIT = Unit("Mirrow Light", "Mirrow Light was built by Odran Pell.", ("q1",), (("own", "aa"),), ())


def passage(id: str, builder: str, source: str = "archive") -> Hit:
    return Hit(id, "Mirrow Light", f"A light stands there. Mirrow Light was built by {builder}.", 0.5, source=source)


def heard(
    hits: Sequence[Hit], limit: int = 12, by_title: Sequence[Hit] = (), unit: Unit = UNIT
) -> tuple[tuple[Witness, ...], list[str]]:
    """What the witnesses say, the model answering with the builder that it reads; and whom it was shown, in order."""
    shown: list[str] = []

    def reply(messages: Messages, sampling: Sampling) -> str:
        text = messages[0].content
        if "too long" in text:
            raise PromptTooLong("expected a shorter prompt")
        shown.extend(hit.id for hit in [*hits, *by_title] if hit.text in text)
        return text.split("built by ")[1].split(".")[0] if "built by " in text else "nobody knows"

    retriever = TableRetriever({QUESTION: list(hits), unit.title: list(by_title)})
    rag = Rag(ScriptedGenerator(reply), retriever, task("qa"))
    own = [Hit("own", "Mirrow Light", UNIT.text, 1.0)]
    return asyncio.run(witnesses(rag, QUESTION, unit, own, ["Odran Pell"], limit)), shown


def test_each_is_asked_alone_and_says_what_its_own_text_holds() -> None:
    found, shown = heard([passage("p1", "Odran Pell"), passage("p2", "Ines Vart")])
    assert shown == ["p1", "p2"]
    assert [(w.passage_id, w.answer, w.agrees) for w in found] == [
        ("p1", "Odran Pell", True),
        ("p2", "Ines Vart", False),
    ]
    assert found[1].sentence == "Mirrow Light was built by Ines Vart."


def test_its_own_sources_units_and_other_subjects_are_not_asked() -> None:
    hits = [
        Hit("own", "Mirrow Light", UNIT.text, 0.9),
        Hit("wb-1", "Mirrow Light", UNIT.text, 0.8, "writeback"),
        Hit("far", "Quay of Tarn", "The quay was built by Ana Foss.", 0.7),
    ]
    assert heard(hits) == ((), [])


def test_what_only_the_title_finds_is_asked_too_and_nothing_twice() -> None:
    one, two = passage("p1", "Odran Pell"), passage("p2", "Ines Vart")
    _, shown = heard([one], by_title=[one, two])
    assert sorted(set(shown)) == ["p1", "p2"]


def test_sources_take_turns_and_a_decided_one_is_asked_no_more() -> None:
    """Twenty passages of a forum leave the archive its place, and cost no more calls than two."""
    forum = [passage(f"f{n:02d}", f"Ines Vart {n}", "forum") for n in range(20)]
    archive = [passage(f"a{n}", "Odran Pell", "archive") for n in range(2)]
    found, shown = heard([*forum, *archive])
    assert {w.passage_id for w in found if w.agrees} == {"a0", "a1"}
    assert len(shown) <= 2 * LEAD + TOGETHER


@pytest.mark.parametrize("limit", [0, 1, 5, 12])
def test_never_more_than_the_limit(limit: int) -> None:
    _, shown = heard([passage(f"p{n:02d}", f"Builder{n}", f"s{n}") for n in range(30)], limit)
    assert len(shown) == limit


@pytest.mark.parametrize(
    ("answer", "gold", "agrees"),
    [
        ("Odran Pell", "Odran Pell", True),
        ("Pell", "Odran Pell", True),  # a part of it
        ("Mirrow Light was built by Odran Pell", "Odran Pell", True),  # a sentence says no more than what is asked
        ("Ines Vart", "Odran Pell", False),
        ("Odran Vart", "Odran Pell", None),  # in no sentence of the passage: the model's own
        ("", "Odran Pell", None),
        ("Mirrow Light", "Odran Pell", None),  # the question's own words
        ("no", "Odran Pell", None),
    ],
)
def test_what_counts_as_an_answer(answer: str, gold: str, agrees: bool | None) -> None:
    text = "Mirrow Light was built by Odran Pell. Ines Vart kept it."
    found = said_by(Hit("p", "Mirrow Light", text, 0.0), QUESTION, answer, [gold])
    assert (None if found is None else found.agrees) == agrees


def test_a_sentence_that_refers_back_comes_with_the_one_before() -> None:
    text = "Here is a list. Mirrow Light stands there. It was built by Odran Pell. He is old."
    found = said_by(Hit("p", "Notes", text, 0.0), QUESTION, "Odran Pell", ["Odran Pell"], {"mirrow", "light"})
    assert found is not None and found.sentence == "Mirrow Light stands there. It was built by Odran Pell."


def test_answers_in_a_script_without_spaces() -> None:
    hit = Hit("p", "灯台", "ミロウ灯台は1871年に建てられた。", 0.0)
    found = said_by(hit, "ミロウ灯台はいつ建てられたか", "1871年", ["1871年"])
    assert found is not None and found.agrees


def test_a_padded_title_hides_the_subject_from_nobody() -> None:
    padded = replace(UNIT, title="Mirrow Light Grand Harbour Beacon Tower Heritage Register")
    _, shown = heard([passage("p1", "Ines Vart")], unit=padded)
    assert shown == ["p1"]


def test_passages_that_name_no_source_speak_for_themselves() -> None:
    """Decoys on top do not end the asking where an index or an outside store does not say who wrote what."""
    hits = [passage(f"d{n}", "Odran Pell", "") for n in range(4)] + [
        passage(f"a{n}", "Ines Vart", "") for n in range(6)
    ]
    found, _ = heard(hits)
    assert sum(not w.agrees for w in found) == 6


def test_a_passage_that_the_model_has_no_room_for_is_silent() -> None:
    found, _ = heard([replace(passage("p1", "Ines Vart"), text="Mirrow Light: too long"), passage("p2", "Odran Pell")])
    assert [w.passage_id for w in found] == ["p2"]


@pytest.mark.parametrize(
    ("question", "text", "answer", "gold", "agrees"),
    [
        ("who built it?", "It stands north of Tarn.", "No", "Pell", None),  # a word is no part of another
        ("how many?", "It was lit in 1852.", "5", "7", None),
        ("Which is older, Mirrow Light or Tarn Light?", "Mirrow Light is older.", "Mirrow Light", "Mirrow Light", True),
        ("Which is older, Mirrow Light or Tarn Light?", "Tarn Light is older.", "Tarn Light", "Mirrow Light", False),
    ],
)
def test_words_and_choices(question: str, text: str, answer: str, gold: str, agrees: bool | None) -> None:
    found = said_by(Hit("p", "Mirrow Light", text, 0.0), question, answer, [gold])
    assert (None if found is None else found.agrees) == agrees
