"""Admission control: a bounded number of requests at work, a bounded queue, and a refusal for the rest.

First come, first served. Draining refuses what is new and waits for what was begun.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from wbrag.serving.errors import Refusal

WINDOW_S = 30.0  # throughput is measured over the last so many seconds
LONGEST_WAIT_S = 60


class Admission:
    """`concurrency` requests at work and `queue` waiting, first come first served; for one event loop."""

    def __init__(self, concurrency: int, queue: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.concurrency, self.queue, self.clock = concurrency, queue, clock
        self.working = self.waiting = self.open = 0  # `open`: responses that are not sent whole yet
        self.draining = False
        self._slots = asyncio.Semaphore(concurrency)
        self._finished: deque[float] = deque(maxlen=1000)
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a turn; raises `Refusal` at once where draining (503) or where too many wait already (429)."""
        if self.draining:
            raise Refusal(503, "this gateway is stopping: ask again", code="draining", retry_after=1)
        if self._slots.locked() and self.waiting >= self.queue:
            message = f"{self.working} requests are at work and {self.waiting} are waiting: ask again later"
            raise Refusal(429, message, code="busy", retry_after=self.retry_after())
        self.waiting += 1
        self._idle.clear()
        try:
            await self._slots.acquire()
            self.working += 1  # before it stops waiting: it is never idle between the two
        finally:
            self.waiting -= 1
            self._note_idle()
        try:
            yield
            self._finished.append(self.clock())
        finally:
            self.working -= 1
            self._slots.release()
            self._note_idle()

    @contextmanager
    def responding(self) -> Iterator[None]:
        """A response from its request to its last byte; draining waits for those begun before it."""
        if self.draining:
            yield
            return
        self.open += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.open -= 1
            self._note_idle()

    def retry_after(self) -> int:
        """Seconds until those who wait now have been served, at the pace of the last half minute; at least 1."""
        now = self.clock()
        recent = [at for at in self._finished if now - at < WINDOW_S]
        if not recent:
            return 1
        pace = len(recent) / max(now - recent[0], 1.0)  # requests per second
        return max(1, min(LONGEST_WAIT_S, math.ceil((self.waiting + 1) / pace)))

    async def drain(self, longest_s: float) -> bool:
        """Take nothing new, and wait until what was begun is done; False where that took longer than `longest_s`."""
        self.draining = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), longest_s)
        return self._idle.is_set()

    def _note_idle(self) -> None:
        if not self.working and not self.waiting and not self.open:
            self._idle.set()
