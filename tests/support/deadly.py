"""Engines and rows whose processes die, by the names under which Ray's workers import them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.pipeline import ITEMS
from wbrag.core.types import Completion, Example, Prompt, Sampling
from wbrag.enrich.enrich import Known
from wbrag.executor.ray.engines import EngineActor
from wbrag.executor.ray.row_worker import RowWorker, Told, Work
from wbrag.generators.wrapper import GeneratorWrapper

POISON = 7
MARK = f"code of {ITEMS[POISON]}?"


class Deadly(GeneratorWrapper):
    """A generator whose process dies of the marked prompt, as of a fault in a kernel; a folder says how it goes on."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        if MARK in str(prompt):
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().generate(prompt, sampling)


class DeadlyEngine(EngineActor):
    async def ready(self) -> int:
        room = await super().ready()
        if self.generator is not None and not isinstance(self.generator, Deadly):
            self.generator = Deadly(self.generator)
        return room


class DeadlyRows(EngineActor):
    """Dies of the marked row itself, before it asks anything."""

    async def rows(self, work: Work, block: Sequence[str], proven: bool) -> Told:
        if work.name not in self._workers:
            self._workers[work.name] = asyncio.ensure_future(self._deadly(work))
        return await super().rows(work, block, proven)

    async def _deadly(self, work: Work) -> RowWorker:
        worker = await self._worker(work)
        run = worker.run

        async def row(example: Example, known: Known) -> dict[str, Any]:
            if MARK in example.question:
                os.kill(os.getpid(), signal.SIGKILL)
            return await run(example, known)

        worker.run = row
        return worker


class Stillborn(EngineActor):
    """Dies whenever it starts."""

    async def ready(self) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0


class Mortal(EngineActor):
    """Starts once; after the first death its process dies whenever it starts."""

    async def ready(self) -> int:
        marker = Path(self.config.workspace) / "started"
        if marker.exists() and self.generator is None:
            os.kill(os.getpid(), signal.SIGKILL)
        marker.touch()
        return await super().ready()
