"""Publishing from the desk: the canary runs on the models that serve, so that no other engine starts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from wbrag.methods import Rag
from wbrag.methods import method as named
from wbrag.serving import Library
from wbrag.serving.live import Pinned
from wbrag.shelf.canary import Canary, weigh
from wbrag.shelf.releases import Release
from wbrag.shelving import Shelving, refused
from wbrag.stores.push import pushed
from wbrag.tasks import task
from wbrag.types import Example, Generator, Sampling

AT_ONCE = 4  # canary questions beside the traffic


class Publisher:
    """Approves what passed its checks, tests the release that follows, and appends it; one at a time."""

    def __init__(self, shelving: Shelving, library: Library, generator: Generator) -> None:
        self.shelving, self.library, self.generator = shelving, library, generator
        self._one = asyncio.Lock()

    async def publish(self, by: str, note: str) -> Release:
        """The new release, or the present one where nothing changed.

        Units whose checks have not been run stay candidates: `wbrag check` runs them. Raises `WbragError` where the
        release fails its self-test or the canary.
        """
        async with self._one:
            proposed, old = await asyncio.to_thread(self._propose, by, note)
            if old:
                return proposed
            await self.library.prepare(proposed)
            if self.shelving.config.canary.examples:
                report = await self._canary(proposed)
                if not report.passed:
                    raise refused(report)
                proposed = replace(proposed, canary=report.to_json())
            made = await asyncio.to_thread(self.shelving.releases.append, proposed)
            return await asyncio.to_thread(pushed, self.shelving, made)

    def _propose(self, by: str, note: str) -> tuple[Release, bool]:
        if self.shelving.config.checks.policy == "auto":
            self.shelving.approve_what_passed()
        proposed = self.shelving.propose(note, by=by)
        return proposed, proposed in self.shelving.releases.all()

    async def _canary(self, proposed: Release) -> Canary:
        settings, seed = self.shelving.config.canary, self.shelving.config.seed
        assert settings.examples is not None
        examples = await asyncio.to_thread(self.shelving.examples, settings.examples, settings.limit)
        before = await asyncio.to_thread(lambda: self.shelving.release(self.shelving.default_release(None)))
        slots = asyncio.Semaphore(AT_ONCE)
        arms = [
            await asyncio.gather(*(self._row(example, release, slots) for example in examples))
            for release in (before, proposed)
        ]
        return weigh(settings.examples, before.id, *arms, alpha=settings.alpha, seed=seed)

    async def _row(self, example: Example, release: Release, slots: asyncio.Semaphore) -> dict[str, Any]:
        c = self.shelving.config
        sampling, retriever = Sampling(c.generator.max_answer_tokens), Pinned(self.library, release)
        rag = Rag(self.generator, retriever, task(example.task), c.retrieval.top_k, sampling, c.prompts_dir, c.methods)
        try:
            async with slots:
                answer = await named(c.canary.method)(example.question, rag, None)
        except Exception as error:  # left out of the pair, as a failed row of an evaluation is
            return {"id": example.id, "score": 0.0, "error": f"{type(error).__name__}: {error}"}
        return {"id": example.id, "score": rag.task.score(answer.text, example.golden_answers), "error": ""}
