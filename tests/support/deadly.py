"""Engines and row actors whose processes die, by the names under which Ray's workers import them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.pipeline import ITEMS
from wbrag.core.types import Completion, Prompt, Sampling
from wbrag.executor.ray.engines import EngineActor
from wbrag.executor.ray.row_pass import RowActor
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
    async def ready(self) -> bool:
        await super().ready()
        if self.generator is not None and not isinstance(self.generator, Deadly):
            self.generator = Deadly(self.generator)
        return True


class DeadlyRowActor(RowActor):
    async def row(self, text: str) -> dict[str, str]:
        if MARK in text:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().row(text)


class Stillborn(EngineActor):
    """Dies whenever it starts."""

    async def ready(self) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return True


class Mortal(EngineActor):
    """Starts once; after the first death its process dies whenever it starts."""

    async def ready(self) -> bool:
        marker = Path(self.config.workspace) / "started"
        if marker.exists() and self.generator is None:
            os.kill(os.getpid(), signal.SIGKILL)
        marker.touch()
        return await super().ready()
