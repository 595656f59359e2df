"""Endpoint models: `Models` and `Tester` over the retriever and the generator that serve.

Publishing from the desk therefore starts no other engine. The publisher runs in one thread beside the event loop; what
it asks of models runs in the loop, beside the traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from wbrag.core.tasks import task
from wbrag.core.types import Example, Generator, Hit, Sampling
from wbrag.enrich.rows import Row
from wbrag.methods import Rag
from wbrag.methods import method as named
from wbrag.retrieval.encoder import Vectors
from wbrag.serving import ReleaseRetriever
from wbrag.serving.adapters import PinnedRetriever
from wbrag.units.examine import NEAREST
from wbrag.units.layout import Layout
from wbrag.units.releases import Release
from wbrag.units.stored import StoredUnit

CANARY_CONCURRENCY = 4  # canary questions beside the traffic
BATCH = 256  # texts of one call to a retriever replica
T = TypeVar("T")


class EndpointModels:
    """`Models` and `Tester` over the retrievers and the generator that serve."""

    def __init__(self, layout: Layout, retriever: ReleaseRetriever, generator: Generator) -> None:
        self.layout, self.retriever, self.generator = layout, retriever, generator
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._loop: asyncio.AbstractEventLoop | None = None

    async def in_thread(self, work: Callable[[], T]) -> T:
        """The result of `work`, which may ask these models, in their thread; one at a time."""
        self._loop = asyncio.get_running_loop()
        return await self._loop.run_in_executor(self._thread, work)

    def embed(self, contents: Sequence[str]) -> Vectors:
        """Passages to vectors [n, d]."""
        pieces = [self._wait(self.retriever.embed(contents[i : i + BATCH])) for i in range(0, len(contents), BATCH)]
        return np.concatenate(pieces)

    def nearest(self, units: Sequence[StoredUnit]) -> dict[str, list[Hit]]:
        """The base passages nearest to each unit, by its stored vector."""
        base = self.layout.release("none")
        found: dict[str, list[Hit]] = {}
        for i in range(0, len(units), BATCH):
            some = units[i : i + BATCH]
            vectors = np.array([s.vector for s in some], dtype=np.float32)
            contents = [s.unit.contents for s in some]
            hits = self._wait(self.retriever.nearest(contents, vectors, NEAREST, base))
            found |= {s.unit.id: mine for s, mine in zip(some, hits)}
        return found

    def prepare(self, release: Release) -> None:
        """Load and test `release` in every retriever; raises `WbragError` with what is wrong."""
        self._wait(self.retriever.prepare(release))

    def canary_rows(self, release: Release) -> list[Row]:
        """Its answers to the questions of `canary.examples`."""
        settings = self.layout.config.canary
        assert settings.examples is not None
        return self._wait(self._answers(self.layout.examples(settings.examples, settings.limit), release))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None  # `in_thread` runs whatever comes here
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _answers(self, examples: Sequence[Example], release: Release) -> list[Row]:
        slots = asyncio.Semaphore(CANARY_CONCURRENCY)
        return await asyncio.gather(*(self._answer(example, release, slots) for example in examples))

    async def _answer(self, example: Example, release: Release, slots: asyncio.Semaphore) -> Row:
        c = self.layout.config
        sampling, retriever = (
            Sampling(c.generator.max_answer_tokens, one_line=True),
            PinnedRetriever(self.retriever, release),
        )
        rag = Rag(self.generator, retriever, task(example.task), c.retrieval.top_k, sampling, c.prompts_dir, c.methods)
        try:
            async with slots:
                answer = await named(c.canary.method)(example.question, rag, None)
        except Exception as error:  # left out of the pair, as a failed row of an evaluation is
            return {"id": example.id, "score": 0.0, "error": f"{type(error).__name__}: {error}"}
        return {"id": example.id, "score": rag.task.score(answer.text, example.golden_answers), "error": ""}
