"""Dispatch: whole blocks of rows go to the engines, one remote call each, and what becomes of them where one dies.

A block whose engine process is lost is worked on once more; one that is lost again is worked on row by row, each with
an engine to itself, and a row that then takes three processes down is at fault. All others come out as if nothing had
been.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from wbrag.core.errors import NoAnswer
from wbrag.core.types import Example
from wbrag.enrich.row_jobs import RowJob
from wbrag.executor.ray.engine_pool import EnginePool
from wbrag.executor.ray.failures import EnginesGone, cause
from wbrag.executor.ray.row_worker import Output, Told, Work
from wbrag.generators.enduring import ALONE

FULL = 2  # times the engine's room in rows under way: the last rows of a block leave room that others fill
LOST = 2  # times that a block is lost with its engine before it is worked on row by row
STEALS_S = 5.0  # that a block waits for its own engine while another has room


class Block(NamedTuple):
    """Rows that one engine works on at once, as text, and the number of the one whose they are."""

    home: int
    rows: list[str]


def homes(examples: Sequence[Example], engines: int) -> list[int]:
    """The engine of each example: as many for each, and the same for the same examples.

    An engine remembers its replies: where a question is asked over two libraries, a prompt that is equal is one
    computation, and the pair differs by the library alone.
    """
    ranked = sorted(
        range(len(examples)), key=lambda i: blake2b(examples[i].question.encode("utf-8", "replace")).digest()
    )
    found = [0] * len(examples)
    for rank, place in enumerate(ranked):
        found[place] = rank * engines // max(1, len(examples))
    return found


def at_once(in_flight: int, size: int) -> int:
    """Blocks of `size` rows under way for an engine that works on so many requests."""
    return max(2, FULL * in_flight // size)


class Dispatcher:
    """The blocks of one pass, of at most `size` rows, over the engines of `pool`."""

    def __init__(self, pool: EnginePool, work: Work, job: RowJob, output: Output, size: int) -> None:
        self.pool, self.work, self.job, self.output, self.size = pool, work, job, output, size
        self.stop = ""
        self._under_way: Counter[int] = Counter()  # blocks, by the engine's number
        self._kept: set[int] = set()  # engines that one row has, or waits for, to itself
        self._freed = asyncio.Event()

    async def __call__(self, block: Block) -> Told:
        """What a block came to; once the run has to stop, nothing more is begun."""
        if not self.stop:
            try:
                self.stop = (await self._block(block)).stop or self.stop
            except EnginesGone as error:
                self.stop = str(error)
        return Told(self.stop)

    async def _block(self, block: Block) -> Told:
        for _ in range(LOST):
            async with self._room(block.home) as engine:
                if (told := await self._rows(engine, block.rows)) is not None:
                    return told
        told = Told()
        for row in block.rows:
            if not (self.stop or told.stop):
                told = await self._alone(block.home, row)
        return told

    async def _alone(self, home: int, row: str) -> Told:
        for _ in range(ALONE):
            async with self._room(home, whole=True) as engine:
                if (told := await self._rows(engine, [row])) is not None:
                    return told
        error = NoAnswer(
            f"expected an engine to answer, found {ALONE} deaths of its process with nothing else at work than this "
            "row: look for the cause in Ray's worker logs"
        )
        await asyncio.to_thread(self.output.quarantine, self.job, row, error)
        return Told()

    async def _rows(self, engine: Any, rows: Sequence[str]) -> Told | None:
        """What they came to in that engine's process; None where it was lost."""
        if self.stop:  # since the block began to wait
            return Told(self.stop)
        try:
            return await engine.rows.remote(self.work, rows)  # type: ignore[no-any-return]
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            self.pool.down(engine, error)
            return None

    @asynccontextmanager
    async def _room(self, home: int, whole: bool = False) -> AsyncIterator[Any]:
        """An engine with room for a block, the one at `home` if it can be; or a `whole` one, once it is idle."""
        engine = await self._found(home, whole)
        number = self.pool.number(engine)
        self._under_way[number] += 1
        try:
            while whole and self._under_way[number] > 1:
                await self._wait()
            yield engine
        finally:
            self._under_way[number] -= 1
            if whole:
                self._kept.discard(number)
            self._freed.set()

    async def _found(self, home: int, whole: bool) -> Any:
        since = time.monotonic()
        while True:
            up = {self.pool.number(engine): engine for engine in await self.pool.up()}
            room = [number for number in up if number not in self._kept]
            if not whole:
                room = [n for n in room if self._under_way[n] < at_once(self.pool.in_flight(up[n]), self.size)]
            if room and home in up and home not in room and time.monotonic() - since < STEALS_S:
                room = []
            if room:
                chosen = home if home in room else min(room, key=lambda number: self._under_way[number])
                if whole:
                    self._kept.add(chosen)
                return up[chosen]
            await self._wait()

    async def _wait(self) -> None:
        """Until a block is over, or for as long as it takes for another engine to be a choice."""
        self._freed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._freed.wait(), STEALS_S / 10)


def given(*parts: Any) -> list[Any]:
    """Parts of a pass as one object that every process reads once."""
    return [ray.put(parts)]
