"""Cost meter: counts the calls, tokens and retrievals of one answer.

A generator and a retriever in one, which hands every call on and changes no reply.
"""

from __future__ import annotations

from collections import Counter
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
        self.ends: Counter[str] = Counter()

    def cost(self, seconds: float) -> Cost:
        return Cost(self.calls, self.prompt_tokens, self.output_tokens, self.retrievals, seconds, dict(self.ends))

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        completion = await super().generate(prompt, sampling)
        self._count(completion.prompt_tokens, completion.tokens)
        if sampling.max_tokens > 1:  # a single token is a label, and always cut
            self.ends.update(ends_of(completion))
        return completion

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        prompt_tokens, output_tokens, whole = 0, 0, Completion("")
        try:
            async with aclosing(super().stream(prompt, sampling)) as pieces:
                async for piece in pieces:
                    prompt_tokens, output_tokens = piece.prompt_tokens or prompt_tokens, output_tokens + piece.tokens
                    last = piece.finish_reason or whole.finish_reason
                    whole = Completion(whole.text + piece.text, finish_reason=last, thinking=piece.thinking)
                    yield piece
        finally:  # also where the caller has read enough
            self._count(prompt_tokens, output_tokens)
            self.ends.update(ends_of(whole))

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


def ends_of(completion: Completion) -> list[str]:
    """How a reply ended: `stop`, `length` (cut), `empty`, or `thinking only`; `thinking stripped` beside an answer."""
    if not completion.text.strip():
        return ["thinking only" if completion.thinking else "empty"]
    end = "length" if completion.finish_reason == "length" else "stop"
    return [end, "thinking stripped"] if completion.thinking else [end]
