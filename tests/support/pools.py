"""Engines that answer after a set delay and count, and rows that ask them: who works, and who waits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import ray

from wbrag.core.config import Config
from wbrag.core.types import Answer, Completion, Example, Message, Sampling
from wbrag.enrich.row_jobs import Handles
from wbrag.enrich.rows import answer_row
from wbrag.executor.ray.engines import EngineActor


@ray.remote(num_cpus=0, max_concurrency=1000)
class DelayedEngine(EngineActor):
    """An engine's actor, up after `start_s`, whose engine takes `delay_s` for whatever it is asked."""

    def __init__(self, config: Config, delay_s: float, start_s: float = 0.0) -> None:
        super().__init__(config)
        self.start_s = start_s
        self.delay_s, self.calls, self.at_work, self.busy_s = delay_s, 0, 0, 0.0
        self.began, self.first, self.last = 0.0, 0.0, 0.0

    async def ready(self) -> int:
        await asyncio.sleep(self.start_s)
        self.start_s = 0.0  # it is up: rows ask again
        return self.config.generator.in_flight

    async def beside(self, method: str, *arguments: Any) -> Completion:
        now = time.monotonic()
        self.first = self.first or now
        if not self.at_work:
            self.began = now
        self.calls, self.at_work = self.calls + 1, self.at_work + 1
        await asyncio.sleep(self.delay_s)
        self.at_work, self.last = self.at_work - 1, time.monotonic()
        if not self.at_work:
            self.busy_s += self.last - self.began
        return Completion("yes")

    async def report(self) -> tuple[int, float, float, float]:
        """Calls, seconds with at least one at work, and when the first began and the last ended."""
        return self.calls, self.busy_s, self.first, self.last


@dataclass(frozen=True)
class AskingJob:
    """Two calls a row, one after the other; a row's prediction names the process that worked on it."""

    config: Config
    kind: str = "evaluate"
    retrieve: bool = False
    distils: bool = False
    needs: set[str] = field(default_factory=set)

    def prepare(self, handles: Handles) -> Callable[[Example, Any], Awaitable[dict[str, Any]]]:
        async def row(example: Example, known: Any) -> dict[str, Any]:
            for turn in range(2):
                await handles.generator.generate([Message("user", f"{example.id} {turn}")], Sampling())
            return answer_row(example, Answer(str(os.getpid())), 1.0)

        return row

    def failed(self, example: Example, error: str) -> dict[str, Any]:
        return answer_row(example, Answer(""), 0.0) | {"error": error}
