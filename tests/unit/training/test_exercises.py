"""Exercises: the prompts that wbrag asks, and replies that its own parsers read and its own metric calls right."""

from __future__ import annotations

import pytest

from wbrag.core.tasks import task
from wbrag.core.types import Example, Hit, Passage
from wbrag.enrich.distil_replies import parse_evidence, parse_unit
from wbrag.training.exercises import SHARES, Kind, Reading, answer_of, evidence_of, exercise, rewritten

GOLD = Passage(
    "g",
    "Mirrow Light (1871)",
    "It was built by Odran Pell (born 1830) for the crown. It burns oil (first lit in 1871). Nine boats lie there.",
)
NEAR = [Passage(f"n{i}", f"Quay {i}", f"The quay {i} is built of basalt. Nobody knows who built it.") for i in range(9)]


def reading(question: str = "who built mirrow light", *answers: str, task: str = "nq", id: str = "q") -> Reading:
    example = Example(id, question, answers or ("Odran Pell", "Odran Pell the elder"), task)
    return Reading("nq/train", example, [GOLD], NEAR, [[0.9, 0.2, 0.1]])


@pytest.mark.parametrize("kind", list(SHARES))
def test_a_reply_is_right_and_readable(kind: Kind) -> None:
    found = exercise(reading(), 0, kind=kind)
    assert found is not None and found.prompt[-1].role == "user" and found.question_id == "q"
    text = " ".join(message.content for message in found.prompt)
    if kind in ("documents", "gold", "closed"):
        assert task("nq").score(found.reply, ("Odran Pell",)) == 1 and found.reply == "Odran Pell"
        assert len(found.seen) == {"documents": 5, "gold": 1, "closed": 0}[kind]
        assert ("g" in found.seen) == (kind != "closed") == ("Doc 1(Title: " in text)
    elif kind == "evidence":
        hits = [Hit(p.id, p.title, p.text, 0.0) for id in found.seen for p in [GOLD, *NEAR] if p.id == id]
        said = parse_evidence(found.reply, hits, 8)
        assert len(said) == len(found.reply.splitlines()) == 2 and all(one.passage_id == "g" for one in said)
    else:
        title, paragraph = parse_unit(found.reply)
        assert title == "Mirrow Light"
        assert paragraph == "Mirrow Light was built by Odran Pell for the crown. It burns oil."


def test_the_kinds_come_in_their_shares_and_never_change() -> None:
    drawn = [exercise(reading(id=f"q{i}"), 0) for i in range(400)]
    again = [exercise(reading(id=f"q{i}"), 0) for i in range(400)]
    kinds = [one.kind for one in drawn if one]
    assert drawn == again and all(abs(kinds.count(kind) / 400 - share) < 0.1 for kind, share in SHARES.items())
    places = {one.seen.index("g") for one in drawn if one and one.kind == "documents"}
    assert places == {0, 1, 2, 3, 4}, "the gold passage stands anywhere"


def test_the_passage_that_states_the_answer_is_always_shown() -> None:
    """A multi-hop question has several gold passages, one of which states the answer."""
    others = [Passage(f"a{i}", f"Other {i}", "It is another one.") for i in range(6)]
    asked = Reading("hotpotqa/train", reading().example, [*others, GOLD], NEAR, [[0.1]] * 6 + [[0.9, 0.2, 0.1]])
    for kind in ("gold", "documents", "evidence"):
        found = exercise(asked, 0, kind=kind)  # type: ignore[arg-type]
        assert found is not None and "g" in found.seen


def test_what_cannot_be_read_there_is_no_exercise() -> None:
    assert exercise(reading("who?", "Nobody"), 0) is None
    assert answer_of(reading("is it lit", "True", task="boolq")) == "True"
    assert rewritten("Some Other Title", ["It burns oil."], "what does it burn", "oil") == ""


def test_a_rewrite_whose_passage_has_no_telling_title_is_named_by_what_both_name() -> None:
    said = ["Oil of the Mirrow Light in use came from whales."]
    assert rewritten("Staff letter 4", said, "where did oil of the mirrow light in storms come from", "whales") == (
        f"Mirrow Light\n{said[0]}"
    )


def test_a_rewrite_is_written_as_people_write() -> None:
    said = ["It 's a `` cult film '' , made ( in 1977 ) for $ 5 by the boys ' club ."]
    assert rewritten("Jaws (film)", said, "who made jaws", "1977") == (
        "Jaws\nJaws's a \"cult film\", made (in 1977) for $5 by the boys' club."
    )


def test_sentences_that_state_the_answer_come_before_similar_ones() -> None:
    text = "The oil is dear. It was lit. It burns oil. Boats lie there. Oil is sold."
    found = Reading(
        "nq/train",
        Example("q", "what does it burn", ("oil",), "nq"),
        [Passage("g", "t", text)],
        [],
        [[0.1, 0.9, 0.5, 0.8, 0.2]],
    )
    assert evidence_of(found, "oil") == [(0, "The oil is dear."), (0, "It burns oil."), (0, "Oil is sold.")]
    assert evidence_of(found, "dear") == [(0, "The oil is dear."), (0, "It was lit.")]
