"""Dispatch: whole blocks of rows go to the engines, one remote call each, and what becomes of them where one dies.

A block whose engine process is lost is worked on once more; one that is lost again has an engine to itself, in parts if
that dies too (`generators/suspects.py`), and a row that alone takes three processes down is at fault. All others come
out as if nothing had been.
"""

from __future__ import annotations

import asyncio
import logging
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
from wbrag.executor.ray import engine_pool
from wbrag.executor.ray.engine_pool import EnginePool
from wbrag.executor.ray.failures import EnginesGone, NotUp, cause
from wbrag.executor.ray.row_worker import Output, Told, Work
from wbrag.generators.suspects import ALONE, sift

log = logging.getLogger(__name__)
FULL = 2  # times the engine's room in rows under way: the last rows of a block leave room that others fill
LOST = 2  # times that a block is lost with its engine before it has one to itself
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

    def __init__(
        self, pool: EnginePool, work: Work, job: RowJob, output: Output, size: int, proven: bool = True
    ) -> None:
        self.pool, self.work, self.job, self.output, self.size = pool, work, job, output, size
        self.stop, self.proven = "", proven
        self._under_way: Counter[int] = Counter()  # blocks, by the engine's number
        self._kept: set[int] = set()  # engines that one block has, or waits for, to itself
        self._freed = asyncio.Event()

    async def __call__(self, block: Block) -> Told:
        """What a block came to; once the run has to stop, nothing more is begun."""
        if not self.stop:
            try:
                await self._block(block)
            except EnginesGone as error:
                self.stop = str(error)
        return Told(self.stop, self.proven)

    async def _block(self, block: Block) -> None:
        for _ in range(LOST):
            async with self._room(block.home) as engine:
                if await self._rows(engine, block.rows):
                    return
        log.warning(
            "%d rows have been lost %d times with their engine: they are tried apart from others", len(block.rows), LOST
        )
        kept = _Kept(self, block.home)
        try:
            await sift(block.rows, kept.tried, self._blame)
        finally:
            kept.release()

    async def _blame(self, row: str) -> None:
        error = NoAnswer(
            f"expected an engine to answer, found {ALONE} deaths of its process with nothing else at work than this "
            "row: look for the cause in Ray's worker logs"
        )
        await asyncio.to_thread(self.output.quarantine, self.job, row, error)

    async def _rows(self, engine: Any, rows: Sequence[str]) -> bool:
        """Have them worked on in that engine's process; False where it was lost."""
        if self.stop:  # since the block began to wait
            return True
        try:
            told: Told = await engine.rows.remote(self.work, rows, self.proven)
        except RayTaskError as error:
            if not isinstance(why := cause(error), NotUp):
                raise why from None
            self.pool.down(engine)
            return False
        except RayError as error:
            self.pool.down(engine, error)
            return False
        self.stop, self.proven = self.stop or told.stop, self.proven or told.proven
        return True

    @asynccontextmanager
    async def _room(self, home: int) -> AsyncIterator[Any]:
        """An engine with room for a block, the one at `home` if it can be."""
        engine = await self._found(home, whole=False)
        number = self.pool.number(engine)
        self._under_way[number] += 1
        try:
            yield engine
        finally:
            self._under_way[number] -= 1
            self._freed.set()

    async def _whole(self, home: int) -> Any:
        """An engine that nothing else is at work in, and that nothing is given to until it is let go of."""
        engine = await self._found(home, whole=True)
        try:
            while self._under_way[self.pool.number(engine)]:
                await self._wait()
        except BaseException:
            self._let_go(engine)
            raise
        return engine

    def _let_go(self, engine: Any) -> None:
        self._kept.discard(self.pool.number(engine))
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


class _Kept:
    """An engine for suspects alone, kept from one try to the next; another where it is given up."""

    def __init__(self, dispatcher: Dispatcher, home: int) -> None:
        self.dispatcher, self.home = dispatcher, home
        self.engine: Any = None

    async def tried(self, rows: Sequence[str]) -> Sequence[str]:
        """The rows under whose work it died: it was up when they began."""
        engine = await self._up()
        return [] if await self.dispatcher._rows(engine, rows) else rows

    async def _up(self) -> Any:
        d = self.dispatcher
        while not d.stop:
            if self.engine is None:
                self.engine = await d._whole(self.home)
            if self.engine in await d.pool.up():
                try:
                    await self.engine.ready.remote()
                except RayError:
                    d.pool.down(self.engine)
                else:
                    return self.engine
            elif d.pool.lost(self.engine):
                self.release()
            await asyncio.sleep(engine_pool.POLL_S)
        return None

    def release(self) -> None:
        if self.engine is not None:
            self.dispatcher._let_go(self.engine)
            self.engine = None


def given(*parts: Any) -> list[Any]:
    """Parts of a pass as one object that every process reads once."""
    return [ray.put(parts)]
