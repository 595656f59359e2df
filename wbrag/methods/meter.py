"""What an answer costs, counted where it passes: a generator and a retriever in one that hand every call on."""

from __future__ import annotations

from collections.abc import Sequence

from wbrag.types import Completion, Cost, Generator, Hit, Messages, NextTokens, Prompt, Retriever, Sampling


class Meter:
    """Both protocols. `score` and `next_tokens` are calls of one output token; the prompt of a score is not counted."""

    def __init__(self, generator: Generator, retriever: Retriever) -> None:
        self.generator, self.retriever = generator, retriever
        self.calls = self.prompt_tokens = self.output_tokens = self.retrievals = 0

    def cost(self, seconds: float) -> Cost:
        return Cost(self.calls, self.prompt_tokens, self.output_tokens, self.retrievals, seconds)

    @property
    def fingerprint(self) -> str:
        return self.generator.fingerprint

    async def start(self) -> None:
        await self.generator.start()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        completion = await self.generator.generate(prompt, sampling)
        self.calls += 1
        self.prompt_tokens += completion.prompt_tokens
        self.output_tokens += completion.tokens
        return completion

    async def score(self, prompt: Messages, continuation: str) -> float:
        self._single()
        return await self.generator.score(prompt, continuation)

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        found = await self.generator.next_tokens(prompt, prefix, top)
        self._single()
        self.prompt_tokens += found.prompt_tokens
        return found

    def _single(self) -> None:
        self.calls += 1
        self.output_tokens += 1

    async def decode(self, ids: Sequence[int]) -> str:
        return await self.generator.decode(ids)

    async def knows(self, tokens: Sequence[str]) -> bool:
        return await self.generator.knows(tokens)

    async def close(self) -> None:
        await self.generator.close()

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.retrievals += len(queries)
        return await self.retriever.search(queries, k)
