"""Engine pool: the engine actors of one model, of which some are up, some are starting, and some never start again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from wbrag.executor.ray.capacity import pending
from wbrag.executor.ray.failures import LESS, EnginesGone, in_one_sentence, short_of_memory

log = logging.getLogger(__name__)
STARTS = 3  # failed in a row, and an engine is given up
START_RETRIES = 2 * STARTS  # as Ray counts: a death is also seen as "restarting"
POLL_S = 0.1
DIES = (
    "expected an engine to start again, found that its process dies each time: "
    "look for the cause in Ray's worker logs; what was finished is kept, run it again"
)


class EnginePool:
    """Engines join as they come up, at the start and after a death; meanwhile the others do the work.

    `starting` are the references that resolve when the engine of the same position is ready.
    """

    def __init__(self, engines: Sequence[Any], starting: Sequence[Any], limit_s: float = inf) -> None:
        self.engines, self.starting, self.limit_s = list(engines), list(starting), limit_s
        self._ready: list[Any] = []
        self._awaited = dict(zip(starting, engines, strict=True))
        self._number = {engine: number for number, engine in enumerate(engines)}
        self._in_flight: dict[Any, int] = {}
        self._failed: Counter[Any] = Counter()  # starts that failed since the last that did not
        self._why = ""  # the last of them
        self._looked = -inf

    def __len__(self) -> int:
        return len(self.engines)

    def number(self, engine: Any) -> int:
        """Of its place, which it keeps."""
        return self._number[engine]

    def in_flight(self, engine: Any) -> int:
        """Requests that one which is up works on at once."""
        return self._in_flight[engine]

    async def up(self) -> list[Any]:
        """The engines that are up; waits while all are starting. Raises `EnginesGone` where none comes."""
        since = time.monotonic()
        while True:
            self._look()
            if self._ready:
                return self._ready
            if time.monotonic() - since > self.limit_s:
                raise EnginesGone(
                    f"expected an engine within {self.limit_s:.0f} s, found all {len(self)} still starting"
                    f"{f' (without a place are {named})' if (named := pending()) else ''}: add nodes, or raise "
                    "ray.start_timeout_s; what was finished is kept, run it again"
                )
            await asyncio.sleep(POLL_S)

    def lost(self, engine: Any) -> bool:
        """Whether it was given up."""
        return engine not in self._ready and engine not in self._awaited.values()

    def down(self, engine: Any, error: RayError | None = None) -> None:
        """Ray is starting it again; it gets no calls until it is ready. Who waits is told where memory is why."""
        if engine in self._ready:
            self._ready.remove(engine)
            if error and (killed := short_of_memory(error)):
                log.warning("an engine starts again: %s; if it goes on, lower %s", killed, LESS)
            self._awaited[engine.ready.options(max_task_retries=START_RETRIES).remote()] = engine

    def _look(self) -> None:
        """Take in the engines that have come up. Raises the last one's failure where none is left to wait for."""
        if self._ready and time.monotonic() - self._looked < POLL_S:  # many blocks ask at once
            return
        self._looked = time.monotonic()
        waiting = list(self._awaited)
        done = ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []
        for reference in done:
            engine = self._awaited.pop(reference)
            try:
                self._in_flight[engine] = ray.get(reference)
            except RayError as error:
                raised = isinstance(error, RayTaskError)
                self._why = str(in_one_sentence("the start of an engine", error)) if raised else DIES
                self._failed[engine] += 1
                if raised and self._failed[engine] < STARTS:  # one that dies has had Ray's retries
                    self._awaited[engine.ready.remote()] = engine
            else:
                self._failed.pop(engine, None)
                self._ready.append(engine)
        if not self._ready and not self._awaited:
            raise EnginesGone(self._why)
