"""Publishing from the desk: the canary runs on the models that serve, so that no other engine starts."""

from __future__ import annotations

import asyncio
from typing import Any

from wbrag.core.tasks import task
from wbrag.core.types import Example, Generator, Sampling
from wbrag.methods import Rag
from wbrag.methods import method as named
from wbrag.serving import ReleaseRetriever
from wbrag.serving.adapters import PinnedRetriever
from wbrag.units.canary import Canary, weigh
from wbrag.units.examine import NEAREST
from wbrag.units.library import Library
from wbrag.units.releases import Release

AT_ONCE = 4  # canary questions beside the traffic


class Publisher:
    """Approves what passed its checks, tests the release that follows, and appends it; one at a time."""

    def __init__(self, shelving: Library, library: ReleaseRetriever, generator: Generator) -> None:
        self.shelving, self.library, self.generator = shelving, library, generator
        self._one = asyncio.Lock()

    async def publish(self, by: str, note: str) -> Release:
        """The new release, or the present one where nothing changed.

        Raises `WbragError` where the release fails its self-test or the canary.
        """
        w, auto = self.shelving, self.shelving.config.checks.policy == "auto"
        async with self._one:
            await asyncio.to_thread(w.mark_stale)
            if auto:
                await self._check()
                await asyncio.to_thread(w.approve_what_passed)
            proposed = await asyncio.to_thread(w.propose, note, by=by)
            report = None
            if not await asyncio.to_thread(w.stands, proposed):
                await self.library.prepare(proposed)
                report = await self._canary(proposed) if w.config.canary.examples else None
            return await asyncio.to_thread(w.conclude, proposed, report)

    async def _check(self) -> None:
        """What `Library.check` does, with the library that serves as the one that finds neighbours."""
        todo = await asyncio.to_thread(self.shelving.unexamined)
        if todo:
            base = await asyncio.to_thread(self.shelving.release, "none")
            found = await self.library.search([s.unit.contents for s in todo], NEAREST, base)
            near = {s.unit.id: hits for s, hits in zip(todo, found)}
            await asyncio.to_thread(self.shelving.examine, todo, near)

    async def _canary(self, proposed: Release) -> Canary:
        settings, seed = self.shelving.config.canary, self.shelving.config.seed
        assert settings.examples is not None
        examples = await asyncio.to_thread(self.shelving.examples, settings.examples, settings.limit)
        before = await asyncio.to_thread(self.shelving.answering)
        slots = asyncio.Semaphore(AT_ONCE)
        arms = [
            await asyncio.gather(*(self._row(example, release, slots) for example in examples))
            for release in (before, proposed)
        ]
        return weigh(settings.examples, before.id, *arms, alpha=settings.alpha, seed=seed)

    async def _row(self, example: Example, release: Release, slots: asyncio.Semaphore) -> dict[str, Any]:
        c = self.shelving.config
        sampling, retriever = Sampling(c.generator.max_answer_tokens), PinnedRetriever(self.library, release)
        rag = Rag(self.generator, retriever, task(example.task), c.retrieval.top_k, sampling, c.prompts_dir, c.methods)
        try:
            async with slots:
                answer = await named(c.canary.method)(example.question, rag, None)
        except Exception as error:  # left out of the pair, as a failed row of an evaluation is
            return {"id": example.id, "score": 0.0, "error": f"{type(error).__name__}: {error}"}
        return {"id": example.id, "score": rag.task.score(answer.text, example.golden_answers), "error": ""}
