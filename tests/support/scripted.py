"""A generator that answers from a function and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wbrag.errors import UsageError
from wbrag.types import Completion, Messages, Sampling

Reply = Callable[[Messages, Sampling], str]


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `sampling` is None and `continuation` set for a `score`."""

    prompt: Messages
    sampling: Sampling | None = None
    continuation: str | None = None


@dataclass
class ScriptedGenerator:
    """Speaks the `Generator` protocol with `reply(messages, sampling)` as its model.

    `delay_s` is waited out in every call, `failures` raises an error at the n-th call (from 0, scores counted too),
    `scorer` answers `score` (without it, `score` raises `UsageError`), `word_logprob` is every word's
    log-probability in nats where log-probabilities are asked for. Words stand for tokens; `max_tokens` and `stop`
    are left to `reply`.
    """

    reply: Reply
    scorer: Callable[[Messages, str], float] | None = None
    delay_s: float = 0.0
    failures: Mapping[int, Exception] = field(default_factory=dict)
    word_logprob: Callable[[str], float] = lambda word: -0.1
    name: str = "scripted"
    calls: list[Call] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    closed: bool = False

    @property
    def fingerprint(self) -> str:
        return self.name

    async def start(self) -> None:
        """Nothing to load."""

    async def generate(self, prompt: Messages, sampling: Sampling) -> Completion:
        await self._enter(Call(tuple(prompt), sampling))
        text = self.reply(prompt, sampling)
        words = text.split()
        asked = sampling.logprobs is not None
        return Completion(
            text=text,
            tokens=len(words),
            prompt_tokens=sum(len(message.content.split()) for message in prompt),
            logprobs=tuple(self.word_logprob(word) for word in words) if asked else (),
            top_logprobs=tuple({word: self.word_logprob(word)} for word in words) if asked else (),
        )

    async def score(self, prompt: Messages, continuation: str) -> float:
        await self._enter(Call(tuple(prompt), continuation=continuation))
        if self.scorer is None:
            raise UsageError("the 'scripted' generator was given no scorer")
        return self.scorer(prompt, continuation)

    async def close(self) -> None:
        self.closed = True

    async def _enter(self, call: Call) -> None:
        number = len(self.calls)
        self.calls.append(call)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            # Even without a delay a call gives way once, as a real backend's would.
            await asyncio.sleep(self.delay_s)
        finally:
            self.in_flight -= 1
        if number in self.failures:
            raise self.failures[number]
