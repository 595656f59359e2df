"""Replies of an endpoint as they come."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from tests.support.openai_server import OpenAIServer, cut, drip, error, ok, raw, reset
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.types import Completion, Message, Sampling, Streams
from wbrag.generators.openai import OpenAIGenerator

PROMPT = [Message("user", "Capital of France?")]
SAYS = "Paris of course"


async def _no_sleep(seconds: float) -> None:
    """Waits are not slept."""


def heard(server: OpenAIServer, most: int = 99, **settings: int) -> list[Completion]:
    """The pieces of one reply, at most so many."""

    async def main() -> list[Completion]:
        generator = OpenAIGenerator("tiny", server.url, sleep=_no_sleep, **settings)
        assert isinstance(generator, Streams)
        pieces: list[Completion] = []
        try:
            async with aclosing(generator.stream(PROMPT, Sampling(max_tokens=7, stop=("x",)))) as stream:
                async for piece in stream:
                    pieces.append(piece)
                    if len(pieces) == most:
                        break
        finally:
            await generator.close()
        return pieces

    return asyncio.run(main())


def test_pieces_and_then_the_counts() -> None:
    with OpenAIServer(reply=lambda messages: SAYS) as server:
        *pieces, last = heard(server)
        [body] = server.requests
    assert [piece.text for piece in pieces] == ["Paris", " of", " course"]
    assert {(piece.finish_reason, piece.prompt_tokens) for piece in pieces} == {("", 0)}
    assert last == Completion("", tokens=3, prompt_tokens=5, finish_reason="stop")
    assert body["stream_options"] == {"include_usage": True} and (body["max_tokens"], body["stop"]) == (7, ["x"])


def test_what_fails_before_it_begins_is_tried_again() -> None:
    with OpenAIServer(reply=lambda messages: SAYS, script=[error(503), error(429), ok()]) as server:
        assert "".join(piece.text for piece in heard(server)) == SAYS


@pytest.mark.parametrize(
    "step",
    [
        cut(),
        reset(),
        drip(),
        raw("data: {oops\n\n", "text/event-stream"),
        raw('data: {"error": {"message": "out of memory"}}\n\n', "text/event-stream"),
    ],
    ids=["cut off", "reset", "too slow", "no JSON", "an error"],
)
def test_a_reply_that_breaks_off_is_an_error(step: object) -> None:
    with OpenAIServer(reply=lambda messages: SAYS, script=[step]) as server:  # type: ignore[list-item]
        with pytest.raises(WbragError, match="broke off its reply"):
            heard(server, max_retries=0, timeout_s=1)
        assert len(server.requests) == 1


def test_a_refusal_is_a_refusal() -> None:
    with OpenAIServer(models=["other"]) as server, pytest.raises(WbragError, match="unknown model 'tiny'"):
        heard(server)


def test_plain_text_is_refused_as_ever() -> None:
    async def main() -> None:
        generator = OpenAIGenerator("tiny", "http://127.0.0.1:1/v1")
        with pytest.raises(UsageError, match="no control over single tokens"):
            await anext(generator.stream("Paris is", Sampling()))

    asyncio.run(main())


def test_who_stops_early_gives_back_the_slot_and_the_connection() -> None:
    with OpenAIServer(reply=lambda messages: "word " * 1000, pause_s=0.01) as server:

        async def main() -> None:
            generator = OpenAIGenerator("tiny", server.url, max_concurrency=1)
            for _ in range(3):
                async with aclosing(generator.stream(PROMPT, Sampling())) as stream:
                    assert (await anext(stream)).text == "word"
            for _ in range(500):
                if server.in_flight == 0:
                    break
                await asyncio.sleep(0.01)
            assert server.in_flight == 0 and server.max_in_flight <= 3
            await generator.close()

        asyncio.run(main())
