"""Generator wrapper: hands every call on to the generator within; base class of the cache and of the cost meter.

What a subclass does not override passes through unchanged, streams and errors too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from wbrag.core.types import Completion, Generator, Messages, NextTokens, Prompt, Sampling, Scored, Streams


class GeneratorWrapper:
    """`generator` itself; subclasses change single calls."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    @property
    def fingerprint(self) -> str:
        return self.generator.fingerprint

    async def start(self) -> None:
        await self.generator.start()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        return await self.generator.generate(prompt, sampling)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        """The reply as the generator within streams it; where that cannot, the whole of it as one piece."""
        if not isinstance(self.generator, Streams):
            yield await self.generator.generate(prompt, sampling)
            return
        async with aclosing(self.generator.stream(prompt, sampling)) as pieces:
            async for piece in pieces:
                yield piece

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        return await self.generator.score(prompt, continuation)

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        return await self.generator.next_tokens(prompt, prefix, top)

    async def decode(self, ids: Sequence[int]) -> str:
        return await self.generator.decode(ids)

    async def knows(self, tokens: Sequence[str]) -> bool:
        return await self.generator.knows(tokens)

    async def close(self) -> None:
        await self.generator.close()
