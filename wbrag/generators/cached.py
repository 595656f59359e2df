"""LRU cache of greedy replies: a prompt that was answered is not computed again.

Only what is determined is kept: no reply at a temperature above 0, no failure. Evaluation asks the same question with
and without a release; where no unit made the top k the prompts are equal, and the pair differs by the library alone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from wbrag.core.types import Completion, Generator, Messages, NextTokens, Prompt, Sampling, Scored
from wbrag.generators.wrapper import GeneratorWrapper

MAX_REPLIES = 100_000  # replies of a few hundred bytes each
MAX_LONG_REPLIES = 5_000  # replies with log-probabilities: up to a few hundred kilobytes each
Key = tuple[Any, ...]
T = TypeVar("T")


class CachedGenerator(GeneratorWrapper):
    """Wraps `generator`; calls for one prompt at the same time share one reply. Failures are not remembered."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator)
        self._short: OrderedDict[Key, asyncio.Future[Any]] = OrderedDict()
        self._long: OrderedDict[Key, asyncio.Future[Any]] = OrderedDict()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        if sampling.temperature > 0:
            return await self.generator.generate(prompt, sampling)
        key = (_plain(prompt), sampling)
        return await self._once(key, sampling.logprobs is not None, lambda: self.generator.generate(prompt, sampling))

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        key = (_plain(prompt), continuation)
        return await self._once(key, False, lambda: self.generator.score(prompt, continuation))

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        key = (_plain(prompt), tuple(prefix), top)
        return await self._once(key, True, lambda: self.generator.next_tokens(prompt, prefix, top))

    async def _once(self, key: Key, long: bool, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        replies, most = (self._long, MAX_LONG_REPLIES) if long else (self._short, MAX_REPLIES)
        if key in replies:
            replies.move_to_end(key)
        else:
            replies[key] = asyncio.ensure_future(ask())
            if len(replies) > most:
                replies.popitem(last=False)
        reply: asyncio.Future[T] = replies[key]
        try:
            return await asyncio.shield(reply)
        except BaseException:
            if reply.done():
                replies.pop(key, None)
            raise


def _plain(prompt: Prompt) -> Any:
    return prompt if isinstance(prompt, str) else tuple(prompt)
