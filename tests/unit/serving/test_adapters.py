"""What is heard of an answer while it is written is what the answer will be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from tests.support.scripted import ScriptedGenerator
from tests.support.serving import ScriptedStream
from wbrag.core.reading import read_answer
from wbrag.core.types import Completion, Message, Prompt, Sampling
from wbrag.generators.wrapper import GeneratorWrapper
from wbrag.methods.meter import Meter
from wbrag.serving.adapters import Stopwatch, StreamingGenerator

PROMPT = [Message("user", "Who?")]


def test_speaking_stops_the_model_at_the_end_of_the_line() -> None:
    async def main() -> None:
        generator = ScriptedStream(lambda messages, sampling: " Ada Thorn\nand so on for ever")
        heard: list[str] = []
        speaking = StreamingGenerator(generator, heard.append)
        done = await speaking.generate(PROMPT, Sampling())
        assert heard == ["Ada", " Thorn"] and read_answer(done.text) == "Ada Thorn"
        assert generator.cancelled == 1 and (done.tokens, done.prompt_tokens) == (3, 1) and not speaking.cut

    asyncio.run(main())


@dataclass
class CountsAtTheEnd(ScriptedGenerator):
    """As an endpoint does: its usage comes last."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        whole = await self.generate(prompt, sampling)
        for piece in re.findall(r"\s*\S+", whole.text):
            yield Completion(piece, finish_reason="")
        yield Completion("", whole.tokens, whole.prompt_tokens, "length")


@pytest.mark.parametrize(("text", "cut"), [("one two three", True), ("one\ntwo", False), (" \n one", True)])
def test_an_endpoint_that_counts_last_is_heard_out(text: str, cut: bool) -> None:
    async def main() -> None:
        heard: list[str] = []
        speaking = StreamingGenerator(CountsAtTheEnd(lambda messages, sampling: text), heard.append)
        done = await speaking.generate(PROMPT, Sampling())
        assert done.text == text.rstrip() and (done.tokens, done.prompt_tokens) == (len(text.split()), 1)
        assert "".join(heard) == read_answer(text) and speaking.cut is cut

    asyncio.run(main())


def test_a_generator_that_cannot_stream_speaks_in_one_piece_and_a_meter_counts_either() -> None:
    async def main() -> None:
        for generator in (ScriptedGenerator(lambda m, s: "a b"), ScriptedStream(lambda m, s: "a b")):
            meter = Meter(GeneratorWrapper(generator), None)  # type: ignore[arg-type]
            pieces = [piece async for piece in meter.stream(PROMPT, Sampling())]
            assert "".join(piece.text for piece in pieces) == "a b"
            assert (meter.calls, meter.prompt_tokens, meter.output_tokens) == (1, 1, 2)

    asyncio.run(main())


def test_overlapping_calls_are_counted_once() -> None:
    async def main() -> None:
        watch = Stopwatch()

        async def call(seconds: float) -> None:
            with watch.running():
                await asyncio.sleep(seconds)

        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(call(0.05) for _ in range(4)))
        assert 0.045 <= watch.seconds <= loop.time() - start + 0.001
        await asyncio.sleep(0.05)
        assert watch.seconds < loop.time() - start - 0.04  # nothing ran

    asyncio.run(main())
