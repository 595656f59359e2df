"""A generator that answers from a function and remembers what it was asked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from wbrag.core.errors import UsageError
from wbrag.core.types import Completion, Message, Messages, NextToken, NextTokens, Prompt, Sampling, Scored

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

    `delay_s` is waited out in every call, and so is `go` where it is an event; `failures` raises an error at the n-th
    call (from 0, scores counted too), `scorer` answers `score` (without it, `score` raises `UsageError`),
    `word_logprob` is every word's log-probability in nats where log-probabilities are asked for, `first_token` further
    alternatives to the first, `special` the tokens that the model `knows`. Words stand for tokens; `max_tokens` and
    `stop` are left to `reply`.
    """

    reply: Reply
    scorer: Callable[[Messages, str], float] | None = None
    delay_s: float = 0.0
    go: asyncio.Event | None = None
    failures: Mapping[int, Exception] = field(default_factory=dict)
    word_logprob: Callable[[str], float] = lambda word: -0.1
    first_token: Callable[[Prompt], Mapping[str, float]] = lambda prompt: {}
    name: str = "scripted"
    special: Sequence[str] = ()
    vocabulary: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    closed: bool = False

    @property
    def fingerprint(self) -> str:
        return self.name

    async def start(self) -> None:
        """Nothing to load."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        await self._enter(Call(tuple(messages), sampling))
        text = self.reply(messages, sampling)
        pieces = re.findall(r"\s*\S+", text)
        asked = sampling.logprobs is not None
        logprobs = [self.word_logprob(piece.strip()) for piece in pieces]
        tops = [{piece: logprob} for piece, logprob in zip(pieces, logprobs)]
        return Completion(
            text=text,
            tokens=len(pieces),
            prompt_tokens=sum(len(message.content.split()) for message in messages),
            logprobs=tuple(logprobs) if asked else (),
            top_logprobs=(self.first_token(messages) or tops[0], *tops[1:]) if asked and tops else (),
            pieces=tuple(pieces),
        )

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        await self._enter(Call(tuple(prompt), continuation=continuation))
        if self.scorer is None:
            raise UsageError("the 'scripted' generator was given no scorer")
        words = sum(len(message.content.split()) for message in prompt) + len(continuation.split())
        return Scored(self.scorer(prompt, continuation), words, len(continuation.split()))

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        """The words that `reply` writes, one a token; ids are positions in `vocabulary`, which grows."""
        await self._enter(Call(tuple(prompt)))
        assert not isinstance(prompt, str)
        words = self.reply(prompt, Sampling()).split()
        word = words[len(prefix)] if len(prefix) < len(words) else ""
        if word not in self.vocabulary:
            self.vocabulary.append(word)
        token = NextToken(self.vocabulary.index(word), f" {word}", 0.0, not word)
        return NextTokens((token,), sum(len(m.content.split()) for m in prompt))

    async def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.vocabulary[id] for id in ids)

    async def knows(self, tokens: Sequence[str]) -> bool:
        return set(tokens) <= set(self.special)

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
            if self.go is not None:
                await self.go.wait()
        finally:
            self.in_flight -= 1
        if number in self.failures:
            raise self.failures[number]
