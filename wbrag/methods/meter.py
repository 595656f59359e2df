"""Cost meter: counts the calls, tokens and retrievals of one answer.

A generator and a retriever in one, which hands every call on and changes no reply.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from wbrag.core.types import Completion, Cost, Generator, Hit, Messages, NextTokens, Prompt, Retriever, Sampling, Scored
from wbrag.generators.wrapper import GeneratorWrapper


class Meter(GeneratorWrapper):
    """Both protocols. `score` and `next_tokens` are calls of one output token."""

    def __init__(self, generator: Generator, retriever: Retriever) -> None:
        super().__init__(generator)
        self.retriever = retriever
        self.calls = self.prompt_tokens = self.output_tokens = self.retrievals = 0

    def cost(self, seconds: float) -> Cost:
        return Cost(self.calls, self.prompt_tokens, self.output_tokens, self.retrievals, seconds)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        completion = await super().generate(prompt, sampling)
        self._count(completion.prompt_tokens, completion.tokens)
        return completion

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        prompt_tokens = output_tokens = 0
        try:
            async with aclosing(super().stream(prompt, sampling)) as pieces:
                async for piece in pieces:
                    prompt_tokens, output_tokens = piece.prompt_tokens or prompt_tokens, output_tokens + piece.tokens
                    yield piece
        finally:  # also where the caller has read enough
            self._count(prompt_tokens, output_tokens)

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        found = await super().score(prompt, continuation)
        self._count(found.prompt_tokens, 1)
        return found

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        found = await super().next_tokens(prompt, prefix, top)
        self._count(found.prompt_tokens, 1)
        return found

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.retrievals += len(queries)
        return await self.retriever.search(queries, k)

    def _count(self, prompt_tokens: int, output_tokens: int) -> None:
        self.calls += 1
        self.prompt_tokens += prompt_tokens
        self.output_tokens += output_tokens
