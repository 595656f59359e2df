"""The embedded model, heard while it speaks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from tests.support.engine import Engine
from wbrag.core.tasks import task
from wbrag.core.types import Sampling, Streams

pytestmark = [pytest.mark.integration, pytest.mark.slow]
PROMPT = task("qa").messages("Who designed the Corvane gauge?", [])


def test_the_pieces_are_the_reply_and_leaving_early_frees_the_engine(engine: Engine) -> None:
    generator = engine.generator

    async def main() -> None:
        assert isinstance(generator, Streams)
        whole = await generator.generate(PROMPT, Sampling(max_tokens=6))
        pieces = [piece async for piece in generator.stream(PROMPT, Sampling(max_tokens=6))]
        assert "".join(piece.text for piece in pieces) == whole.text and len(pieces) > 1
        assert sum(piece.tokens for piece in pieces) == whole.tokens
        assert {piece.prompt_tokens for piece in pieces} == {whole.prompt_tokens}
        assert [piece.finish_reason for piece in pieces] == [""] * (len(pieces) - 1) + [whole.finish_reason]

        long = Sampling(max_tokens=1500, temperature=2.0, seed=1)
        async with aclosing(generator.stream(PROMPT, long)) as stream:
            await anext(stream)
            assert generator._engine.output_processor.has_unfinished_requests()
        assert not generator._engine.output_processor.has_unfinished_requests()

        asked = asyncio.create_task(generator.generate(PROMPT, long))
        while not generator._engine.output_processor.has_unfinished_requests():
            await asyncio.sleep(0.001)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert not generator._engine.output_processor.has_unfinished_requests()

    engine.run(main())
