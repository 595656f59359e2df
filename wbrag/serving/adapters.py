"""Request adapters: the generator and the retriever of one request, timed, streamed, and pinned to one release.

What is streamed is exactly what `tasks.read_answer` makes of the whole reply.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace

from wbrag.core.errors import PromptRefused, UsageError
from wbrag.core.types import Completion, Generator, Hit, Messages, NextTokens, Prompt, Sampling, Scored
from wbrag.generators.wrapper import GeneratorWrapper
from wbrag.serving import ReleaseRetriever
from wbrag.units.releases import Release

Emit = Callable[[str], None]


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


class FirstLine:
    """Lets through of a text in pieces exactly what `tasks.read_answer` makes of the whole."""

    def __init__(self) -> None:
        self.done = False
        self._begun, self._held = False, ""

    def feed(self, piece: str) -> str:
        """What may be shown now; spaces are held back until a word follows."""
        if self.done:
            return ""
        held = self._held + piece
        if not self._begun:
            held = held.lstrip()
            self._begun = bool(held)
        line, newline, _ = held.partition("\n")
        self.done = bool(newline)
        ready = line.rstrip()
        self._held = line[len(ready) :]
        return ready


class StreamingGenerator(GeneratorWrapper):
    """`generator`, timed. With `emit` every reply's first line goes there as it is written."""

    def __init__(self, generator: Generator, emit: Emit | None = None) -> None:
        super().__init__(generator)
        self.emit, self.watch = emit, Stopwatch()
        self.emitted = False
        self.failed = False  # whether the generator, not the question, was at fault
        self.cut = False  # whether the last reply ended at max_tokens, in its first line

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        with self._call():
            done = await (
                self._first_line(prompt, sampling, self.emit) if self.emit else super().generate(prompt, sampling)
            )
        self.cut = done.finish_reason == "length" and "\n" not in done.text.strip()
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

    async def _first_line(self, prompt: Prompt, sampling: Sampling, emit: Emit) -> Completion:
        """The reply up to the end of its first line: the rest is no part of the answer, so it is not waited for."""
        line, whole = FirstLine(), Completion("")
        async with aclosing(self.stream(prompt, sampling)) as pieces:
            async for piece in pieces:
                whole = replace(
                    whole,
                    text=whole.text + piece.text,
                    tokens=whole.tokens + piece.tokens,
                    prompt_tokens=piece.prompt_tokens or whole.prompt_tokens,
                    finish_reason=piece.finish_reason or whole.finish_reason,
                )
                if ready := line.feed(piece.text):
                    emit(ready)
                    self.emitted = True
                if line.done and whole.prompt_tokens:  # an endpoint that counts at the end is heard out
                    break
        return whole


class PinnedRetriever:
    """`Retriever`: the library as `release` has it, and no other."""

    def __init__(self, retriever: ReleaseRetriever, release: Release) -> None:
        self.retriever, self.release, self.watch = retriever, release, Stopwatch()

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        with self.watch.running():
            return await self.retriever.search(queries, k, self.release)
