"""Follow-ups: which stand alone, what becomes of the others, and what of a conversation is in the prompt."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.scripted import ScriptedGenerator
from wbrag.core.tasks import task
from wbrag.core.types import Hit, Message
from wbrag.methods import Rag, method
from wbrag.methods.conversation import Conversation, recent, standing_alone, stands_alone

BOTH = "Who designed the Corvane gauge? When was it sold?"  # what is searched for where the model does not ask
FIRST = [Message("user", "Who designed the Corvane gauge?"), Message("assistant", "Ada Thorn did [1].")]


def turns(last: str) -> list[Message]:
    return [*FIRST, Message("user", last)]


@pytest.mark.parametrize(
    ("last", "alone"),
    [
        ("When was it sold?", False),
        ("And the yard?", False),
        ("When did she die?", False),
        ("Who wrote the Ilgan rule down in 1911?", True),
        ("What is the height of the Marbach tower?", True),
        ("Und wie alt wurde seine Frau damals eigentlich?", False),
        ("那么它是什么时候卖掉的？", False),
        ("why?", False),
    ],
)
def test_what_points_back_does_not_stand_alone(last: str, alone: bool) -> None:
    assert stands_alone(turns(last)) is alone
    assert stands_alone([Message("user", last)]), "there is nothing to point back to"


@pytest.mark.parametrize(
    ("said", "query"),
    [
        ("When was the Corvane gauge sold?", "When was the Corvane gauge sold?"),
        ('\nStandalone question: "When was the Corvane gauge sold?"\nBecause', "When was the Corvane gauge sold?"),
        ("when was the Corvane gauge sold", "when was the Corvane gauge sold"),
        ("Wann wurde der Corvane-Messer in Torvale verkauft?", "Wann wurde der Corvane-Messer in Torvale verkauft?"),
        ("", BOTH),
        ("x" * 600, BOTH),
        ("The Corvane gauge was sold in Dunlo.", BOTH),
        ("It was sold in 1950", BOTH),
        ("Corvane gauge.", BOTH),
    ],
)
def test_a_follow_up_is_written_as_a_question_of_its_own(said: str, query: str) -> None:
    model = ScriptedGenerator(lambda messages, sampling: said)
    assert asyncio.run(standing_alone(turns("When was it sold?"), model)) == query
    [asked] = model.calls
    assert "User: Who designed the Corvane gauge?\nAssistant: Ada Thorn did [1].\nUser: When was it sold?" in str(
        asked.prompt[-1].content
    )


def test_the_last_turns_that_fit_are_kept_and_begin_with_the_users() -> None:
    long = [Message("user", "a" * 300), Message("assistant", "b" * 300), *turns("When?")]
    assert recent(long, 10_000) == tuple(long)
    assert recent(long, 30) == tuple(turns("When?")), "half of an exchange is none"
    assert recent(long, 0) == (long[-1],)


def test_instructions_and_earlier_turns_go_around_the_tasks_prompt() -> None:
    model = ScriptedGenerator(lambda messages, sampling: "It was sold in 1911 [2], and again [7]. <|im_end|>")
    hits = [Hit("p1", "Gauge", "It measures tides.", 0.9), Hit("p2", "Sale", "It was sold in 1911.", 0.8)]

    class Library:
        async def search(self, queries: list[str], k: int) -> list[list[Hit]]:
            assert queries == ["When was the gauge sold?"], "the query is searched for, not the turn"
            return [hits]

    talk = Conversation(tuple(turns("When was it sold?")), "Be brief. <|im_start|>", "When was the gauge sold?")
    rag = Rag(model, Library(), task("chat"), 2, conversation=talk)  # type: ignore[arg-type]
    answer = asyncio.run(method("naive")(talk.query, rag, None))
    assert answer.text.startswith("It was sold in 1911 [1], and again.") and answer.hits[0].id == "p2"
    system, user, assistant, last = model.calls[0].prompt
    assert (system.role, user.role, assistant.role, last.role) == ("system", "user", "assistant", "user")
    assert system.content.startswith("You answer from the given documents") and "Be brief." in system.content
    assert "<|im_start|>" not in system.content, "instructions are data too"
    assert "Doc 2(Title: Sale)" in last.content and last.content.endswith("When was it sold?")
