"""Request adapters: the generator and the retriever of one request, timed, streamed, and pinned to one release.

What is streamed is exactly what the task reads out of the whole reply.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Protocol

from wbrag.core import tracing
from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.errors import PromptRefused, UsageError
from wbrag.core.reading import AnswerReader, is_unfinished
from wbrag.core.types import Completion, Generator, Hit, Messages, NextTokens, Prompt, Sampling, Scored
from wbrag.generators.wrapper import GeneratorWrapper
from wbrag.serving import ReleaseRetriever
from wbrag.units.releases import Release

Emit = Callable[[str], None]


class Reader(Protocol):
    """The answer of a reply that comes in pieces; see `wbrag.core.reading.AnswerReader`."""

    done: bool

    def feed(self, piece: str) -> str: ...

    def end(self) -> str: ...


class Stopwatch:
    """Seconds during which at least one call was running; calls may overlap."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._running, self._since = 0, 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        if not self._running:
            self._since = time.perf_counter()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self.seconds += time.perf_counter() - self._since


class StreamingGenerator(GeneratorWrapper):
    """`generator`, timed. With `emit` every reply's answer goes there as it is written."""

    def __init__(
        self, generator: Generator, emit: Emit | None = None, reader: Callable[[], Reader] = AnswerReader
    ) -> None:
        super().__init__(generator)
        self.emit, self.reader, self.watch = emit, reader, Stopwatch()
        self.emitted = False
        self.failed = False  # whether the generator, not the question, was at fault
        self.cut = False  # whether the last reply ended at max_tokens, in its first line

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        with self._call():
            done = await (
                self._answer(prompt, sampling, self.emit) if self.emit else super().generate(prompt, sampling)
            )
        whole = self.reader is not AnswerReader  # of prose every word counts
        self.cut = done.finish_reason == "length" and (whole or is_unfinished(done.text))
        return done

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        with self._call():
            return await super().score(prompt, continuation)

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        with self._call():
            return await super().next_tokens(prompt, prefix, top)

    @contextmanager
    def _call(self) -> Iterator[None]:
        try:
            with self.watch.running():
                yield
        except (PromptRefused, UsageError):
            raise
        except Exception:
            self.failed = True
            raise

    async def _answer(self, prompt: Prompt, sampling: Sampling, emit: Emit) -> Completion:
        """The reply up to the end of its answer: what follows is no part of it, so it is not waited for."""
        answer, whole = self.reader(), Completion("")
        async with aclosing(self.stream(prompt, sampling)) as pieces:
            async for piece in pieces:
                whole = replace(
                    whole,
                    text=whole.text + piece.text,
                    tokens=whole.tokens + piece.tokens,
                    prompt_tokens=piece.prompt_tokens or whole.prompt_tokens,
                    finish_reason=piece.finish_reason or whole.finish_reason,
                )
                if ready := answer.feed(piece.text):
                    emit(ready)
                    self.emitted = True
                if answer.done and whole.prompt_tokens:  # an endpoint that counts at the end is heard out
                    break
        if rest := answer.end():
            emit(rest)
            self.emitted = True
        return whole


class PinnedRetriever:
    """`Retriever`: what is `allowed` of the library as `release` has it, and no other."""

    def __init__(self, retriever: ReleaseRetriever, release: Release, allowed: Allowed = EVERYTHING) -> None:
        self.retriever, self.release, self.allowed, self.watch = retriever, release, allowed, Stopwatch()
        self.hits: list[Hit] = []  # of the last search

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        asked = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.top_k": k}
        with self.watch.running(), tracing.span("retrieval", tracing.step("RETRIEVER") | asked) as span:
            span.said(input="\n".join(queries))
            hits = await self.retriever.search(queries, k, self.release, self.allowed)
            span.set(tracing.found([hit for own in hits for hit in own]) | {"wbrag.release": self.release.id})
        self.hits = hits[-1] if hits else []
        return hits
