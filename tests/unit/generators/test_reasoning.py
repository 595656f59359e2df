"""A thinking model's answer, whole and in pieces, by every family's tags; and what a tolerant client reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.asking_openai import ask, make, using
from tests.support.openai_server import OpenAIServer, raw
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.types import Completion, Message, Sampling
from wbrag.generators.reasoning import TAGS, AnswerFilter, answered

ANSWER = "Ilka Moss"


def streamed(pieces: list[str], opened: bool = False) -> tuple[str, AnswerFilter]:
    found = AnswerFilter("auto", opened)
    text = "".join(found.add(piece) for piece in pieces)
    return text + found.end(), found


@pytest.mark.parametrize("pair", TAGS)
@pytest.mark.parametrize("thought", ["The documents name a weaver.", "", "one\n\ntwo <b> three"])
def test_the_answer_stands_behind_the_block(pair: tuple[str, str], thought: str) -> None:
    text = f"{pair[0]}\n{thought}\n{pair[1]}\n\n{ANSWER}"
    found = answered(Completion(text), "auto")
    assert found.text == ANSWER and thought in found.thinking and found.thinking
    for size in (1, 3, len(text)):
        shown, heard = streamed([text[i : i + size] for i in range(0, len(text), size)])
        assert shown == ANSWER and heard.thought


def test_a_block_that_the_template_opened() -> None:
    found = answered(Completion("They name her.\n</think>\n\nIlka Moss"), "auto")
    assert (found.text, found.thinking) == (ANSWER, "They name her.")
    assert streamed(["They name", " her.</th", "ink>\nIlka", " Moss"], opened=True)[0] == ANSWER
    assert answered(Completion("Still thinking"), "auto", opened=True).text == ""


@pytest.mark.parametrize("text", ["<think>\nOkay, the user asks", "<think>", "[THINK] so", "<think>a</think>"])
def test_thinking_alone_is_no_answer(text: str) -> None:
    found = answered(Completion(text, finish_reason="length"), "auto")
    assert found.text == "" and found.thinking and found.finish_reason == "length"
    shown, heard = streamed(list(text))
    assert shown == "" and (heard.thought or heard.inside)


def test_an_end_tag_that_is_spoken_of_is_none() -> None:
    text = "Use the </think> tag to close it"
    assert answered(Completion(text), "auto") == Completion(text)


def test_a_setting_says_that_replies_begin_inside() -> None:
    found = answered(Completion("Okay, so. </think>Paris"), "opened")
    assert (found.text, found.thinking) == ("Paris", "Okay, so.")
    assert answered(Completion("Okay, so"), "opened").text == ""
    inside = AnswerFilter("opened")
    assert inside.add("Okay, so. </thi") + inside.add("nk>\n\nPar") + inside.add("is") + inside.end() == "Paris"


def test_a_stream_that_probably_begins_inside() -> None:
    """Learnt from a whole reply; where no end comes it was the answer after all, unless it was cut."""
    likely = AnswerFilter("auto", likely=True)
    assert likely.add("Okay.\n</think>\n") + likely.add("Paris") + likely.end() == "Paris" and likely.thought
    plain = AnswerFilter("auto", likely=True)
    assert plain.add("Par") + plain.add("is") == "" and plain.end() == "Paris"
    cut = AnswerFilter("auto", likely=True)
    assert cut.add("Okay, the user") + cut.end(cut=True) == "" and cut.thought


def test_an_endpoint_whose_template_opens_the_block_streams_the_answer_alone() -> None:
    thinks = "Okay, the user asks.\n</think>\n\nIlka Moss"
    with OpenAIServer(reply=lambda messages: thinks) as server:
        generator = make(server.url)

        async def work(g: Any) -> tuple[str, Completion]:
            await g.generate([Message("user", "Who?")], Sampling())
            return await heard(g)

        assert using(generator, work)[0] == ANSWER


def test_two_blocks() -> None:
    assert answered(Completion("<think>a</think>\n<think>b</think> Yes"), "auto").text == "Yes"


@pytest.mark.parametrize("text", ["Paris", " Paris\n", "a < b", "<thin ice>", "<", "", "thinking of <b>", "[TH"])
def test_other_answers_stay_as_they_are(text: str) -> None:
    assert answered(Completion(text), "auto") == Completion(text)
    assert streamed(list(text))[0] == text


@given(st.lists(st.text(alphabet="<think>/ ab\n", max_size=9), max_size=6))
def test_in_pieces_as_in_one(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert streamed(pieces)[0] == streamed([text])[0]


def test_a_setting_leaves_it_in() -> None:
    for reasoning in ("none", "field"):
        assert answered(Completion("<think>a</think>b"), reasoning).text == "<think>a</think>b"


def test_probabilities_are_those_of_the_answer() -> None:
    pieces = ("<think>", "so", "</think>", "\n\n", "Il", "ka")
    found = answered(Completion("".join(pieces), logprobs=tuple(map(float, range(6))), pieces=pieces), "auto")
    assert (found.text, found.pieces, found.logprobs) == ("Ilka", ("Il", "ka"), (4.0, 5.0))


# -- what endpoints send ------------------------------------------------------------------------------------------


def reply(message: Any, usage: Any = None, reason: str | None = "stop", **more: Any) -> str:
    choice = {"index": 0, "finish_reason": reason, "message": message}
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [choice],
            "usage": usage,
            **more,
        }
    )


def says(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


THOUGHT = [{"type": "text", "text": "a weaver"}]
NULLS = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
READ = {
    "parts": reply(says([{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}])),
    "parts of text": reply(says([{"type": "text", "text": "Ilka "}, {"type": "text", "text": "Moss"}])),
    "a thinking part of text": reply(says([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": ANSWER}])),
    "strings": reply(says(["Ilka", " Moss"])),
    "one part": reply(says({"type": "text", "text": ANSWER})),
    "output_text": reply(says([{"type": "output_text", "text": ANSWER, "annotations": []}])),
    "counts of null": reply(says(ANSWER), NULLS),
    "half of the counts": reply(says(ANSWER), {"prompt_tokens": 3}),
    "no counts": reply(says(ANSWER)),
    "no reason": reply(says(ANSWER), reason=None),
    "a field of thoughts": reply(says(ANSWER, reasoning_content="a weaver")),
    "another field of thoughts": reply(says(ANSWER, reasoning="a weaver", refusal=None, tool_calls=[])),
    "tags": reply(says(f"<think>a weaver</think>{ANSWER}")),
}


@pytest.mark.parametrize("name", READ)
def test_what_a_tolerant_client_reads_is_read(name: str) -> None:
    with OpenAIServer(script=[raw(READ[name])]) as server:
        waits: list[float] = []
        found = ask(make(server.url, waits))
        assert (found.text, found.finish_reason, waits) == (ANSWER, "stop", [])
        assert bool(found.thinking) == any(word in name for word in ("thoughts", "thinking", "tags")) or name == "parts"


@pytest.mark.parametrize(
    "message", [says(None, reasoning_content="Okay, so"), says("", reasoning="Okay"), says("<think>\nOkay")]
)
def test_thinking_alone(message: dict[str, Any]) -> None:
    with OpenAIServer(script=[raw(reply(message, reason="length"))]) as server:
        found = ask(make(server.url))
        assert found.text == "" and found.thinking and found.finish_reason == "length"


def stream_of(*deltas: Any, reason: str | None = "stop", usage: Any = None, done: bool = True, before: str = "") -> str:
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if reason:
        chunks.append({"choices": [{"index": 0, "delta": None, "finish_reason": reason}]})
    if usage:
        chunks.append({"choices": [], "usage": usage})
    head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    lines = "".join(f"data: {json.dumps({**head, **chunk})}\n\n" for chunk in chunks)
    return before + lines + ("data: [DONE]\n\n" if done else "")


WORDS = [{"role": "assistant", "content": ""}, {"content": "Ilka "}, {"content": "Moss"}]
STREAMS = {
    "plain": stream_of(*WORDS),
    "no reason": stream_of(*WORDS, reason=None),
    "comments": stream_of(*WORDS, before=": ping\n\n: ping\n\n"),
    "counts of null": stream_of(*WORDS, usage=NULLS),
    "thoughts": stream_of({"reasoning_content": "a weaver"}, {"reasoning": "a", "content": None}, *WORDS),
    "parts": stream_of({"content": [{"type": "thinking", "thinking": THOUGHT}]}, *WORDS),
    "tags": stream_of({"content": "<thi"}, {"content": "nk>a weaver</think>\n\n"}, *WORDS),
    "an empty delta": stream_of(None, {}, *WORDS),
}


async def heard(generator: Any) -> tuple[str, Completion]:
    pieces = [piece async for piece in generator.stream([Message("user", "Who?")], Sampling())]
    return "".join(piece.text for piece in pieces), pieces[-1]


@pytest.mark.parametrize("name", STREAMS)
def test_streams_as_they_come(name: str) -> None:
    with OpenAIServer(script=[raw(STREAMS[name], "text/event-stream")]) as server:
        text, last = using(make(server.url), heard)
    assert (text, last.finish_reason, last.text) == (ANSWER, "stop", "")
    assert bool(last.thinking) == (name in ("thoughts", "parts", "tags"))


def test_a_setting_says_where_thoughts_stand() -> None:
    with OpenAIServer(script=[raw(READ["tags"])]) as server:
        assert ask(make(server.url, settings=GeneratorConfig(reasoning="none"))).text.startswith("<think>")
