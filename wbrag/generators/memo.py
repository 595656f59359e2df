"""A generator that does not work out twice what is determined: greedy replies to a prompt that it has answered.

Evaluation asks the same question with and without a release, and where no unit made the top k both prompts are the
same text. At temperature 0 the reply is then the same too, and the pair differs by the library alone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from wbrag.types import Completion, Generator, Messages, NextToken, Prompt, Sampling

REMEMBERED = 100_000  # replies; a few hundred bytes each
Key = tuple[Any, ...]


class Remembering:
    """Wraps `generator`; calls for one prompt at the same time share one reply. Failures are not remembered."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._replies: OrderedDict[Key, asyncio.Future[Completion]] = OrderedDict()

    @property
    def fingerprint(self) -> str:
        return self.generator.fingerprint

    async def start(self) -> None:
        await self.generator.start()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        if sampling.temperature > 0:
            return await self.generator.generate(prompt, sampling)
        key = (prompt if isinstance(prompt, str) else tuple(prompt), sampling)
        if key in self._replies:
            self._replies.move_to_end(key)
        else:
            self._replies[key] = asyncio.ensure_future(self.generator.generate(prompt, sampling))
            if len(self._replies) > REMEMBERED:
                self._replies.popitem(last=False)
        reply = self._replies[key]
        try:
            return await asyncio.shield(reply)
        except BaseException:
            if reply.done():
                self._replies.pop(key, None)
            raise

    async def score(self, prompt: Messages, continuation: str) -> float:
        return await self.generator.score(prompt, continuation)

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> tuple[NextToken, ...]:
        return await self.generator.next_tokens(prompt, prefix, top)

    async def decode(self, ids: Sequence[int]) -> str:
        return await self.generator.decode(ids)

    async def knows(self, tokens: Sequence[str]) -> bool:
        return await self.generator.knows(tokens)

    async def close(self) -> None:
        await self.generator.close()
