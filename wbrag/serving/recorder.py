"""Usage recorder: served answers and feedback, appended in batches beside the traffic.

A slow or full disk never costs an answer: rows wait in a bounded buffer, and then the oldest are lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Generic, TypeVar

from wbrag.units.usage import Feedback, Served, Usage

FLUSH_S = 5.0
FLUSH_ROWS = 500
TIDIED = 120  # flushes between two looks at the tables' files: ten minutes of traffic
KEPT_ROWS = 20_000  # of each kind, while the disk fails; then the oldest are lost

log = logging.getLogger("wbrag.serving")
T = TypeVar("T")


class Buffer(Generic[T]):
    """Rows on their way to `write`, oldest first. `lost` counts those given up, `failures` the writes that failed."""

    def __init__(self, write: Callable[[list[T]], None]) -> None:
        self.write, self.rows = write, list[T]()
        self.lost = self.failures = 0

    def add(self, row: T) -> None:
        self.rows.append(row)
        self._bound()

    async def flush(self) -> None:
        """Append what waits, in a thread; what could not be written stays for the next time."""
        batch, self.rows = self.rows, []
        if not batch:
            return
        try:
            await asyncio.to_thread(self.write, batch)
        except Exception as error:  # whatever the disk or the table says, answers go on
            self.failures += 1
            log.error(
                "usage rows could not be written", extra={"fields": {"rows": len(batch), "error": str(error)[:300]}}
            )
            self.rows = batch + self.rows
            self._bound()

    def _bound(self) -> None:
        if (surplus := len(self.rows) - KEPT_ROWS) > 0:
            del self.rows[:surplus]
            self.lost += surplus


class Recorder:
    """Appends to the usage tables every `flush_s` seconds, sooner where much waits, and at the end."""

    def __init__(self, usage: Usage, flush_s: float = FLUSH_S) -> None:
        self.served = Buffer[Served](lambda rows: usage.add(served=rows))
        self.feedback = Buffer[Feedback](lambda rows: usage.add(feedback=rows))
        self.usage, self.flush_s = usage, flush_s
        self._full = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None

    def add(self, row: Served | Feedback) -> None:
        if isinstance(row, Served):
            self.served.add(row)
        else:
            self.feedback.add(row)
        if len(self.served.rows) >= FLUSH_ROWS:
            self._full.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.flush()

    async def flush(self) -> None:
        async with self._writing:
            await self.served.flush()
            await self.feedback.flush()

    async def _run(self) -> None:
        for flushed in count(1):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), self.flush_s)
            await asyncio.shield(self.flush())
            self._full.clear()
            if flushed % TIDIED == 0 and (self._tidying is None or self._tidying.done()):
                self._tidying = asyncio.create_task(self._tidy())  # beside the flushes: it may take long

    async def _tidy(self) -> None:
        try:
            await asyncio.to_thread(self.usage.tidy)
        except Exception as error:  # whatever the disk or the table says, answers go on
            log.error("usage rows could not be put together", extra={"fields": {"error": str(error)[:300]}})
