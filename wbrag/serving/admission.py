"""Admission control: a bounded number of requests at work, a bounded queue, and a refusal for the rest.

Keys take turns, and of one key it is first come, first served; where no place to wait is left, the key with the most
requests waiting gives one up. So one key may take everything while it is alone, and nothing from the others. Draining
refuses what is new and waits for what was begun.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from wbrag.serving.errors import Refusal

WINDOW_S = 30.0  # throughput is measured over the last so many seconds
LONGEST_WAIT_S = 60


class Admission:
    """`concurrency` requests at work and `queue` waiting, in turns by key; for one event loop."""

    def __init__(self, concurrency: int, queue: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.concurrency, self.queue, self.clock = concurrency, queue, clock
        self.working = self.waiting = self.open = 0  # `open`: responses that are not sent whole yet
        self.draining = False
        self._at_work, self._last, self._turns = Counter[str](), Counter[str](), 0  # by key; when it had its last turn
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        self._finished: deque[float] = deque(maxlen=1000)
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def slot(self, name: str = "") -> AsyncIterator[None]:
        """Wait for a turn of the key `name`.

        Raises `Refusal` at once where draining (503) or where too many wait already (429); later where others came and
        this key had the most requests waiting.
        """
        if self.draining:
            raise Refusal(503, "this gateway is stopping: ask again", code="draining", retry_after=1)
        if self.working >= self.concurrency:
            await self._turn(name)
        else:
            self._begin(name)
        self._idle.clear()
        try:
            yield
            self._finished.append(self.clock())
        finally:
            self._end(name)

    async def _turn(self, name: str) -> None:
        """Wait in the key's own line until a place is handed over."""
        if self.waiting >= self.queue:
            self._make_room(name)
        line, turn = self._lines.setdefault(name, deque()), asyncio.get_running_loop().create_future()
        line.append(turn)
        self.waiting += 1
        self._idle.clear()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._end(name)  # given up in the moment that its turn came: the place goes on
            raise
        finally:
            if turn in line:
                line.remove(turn)
            if not line and self._lines.get(name) is line:
                del self._lines[name]
            self.waiting -= 1
            self._note_idle()

    def _make_room(self, name: str) -> None:
        """The newest request of the longest line leaves, where that is another key's; else nobody else may wait."""
        if any(turn.done() for line in self._lines.values() for turn in line):
            return  # given up, and about to leave
        longest = max(self._lines, key=lambda other: len(self._lines[other]), default=name)
        waiting = len(self._lines.get(name, ()))
        if longest != name and len(self._lines[longest]) > waiting + 1:
            self._lines[longest].pop().set_exception(self._busy("; yours gave way to a key with fewer"))
            return
        raise self._busy()

    def _busy(self, why: str = "") -> Refusal:
        message = f"{self.working} requests are at work and {self.waiting} are waiting{why}: ask again later"
        return Refusal(429, message, code="busy", retry_after=self.retry_after())

    def _begin(self, name: str) -> None:
        self.working += 1
        self._at_work[name] += 1

    def _end(self, name: str) -> None:
        """A place is free: it goes to the key that has the fewest at work, of several to the one that waits longest."""
        self.working -= 1
        self._at_work[name] -= 1
        if not self._at_work[name]:
            del self._at_work[name]
        while self._lines:
            chosen = min(self._lines, key=lambda other: (self._at_work[other], self._last[other]))
            turn = self._lines[chosen].popleft()
            if not self._lines[chosen]:
                del self._lines[chosen]
            if not turn.done():
                self._turns += 1
                self._last[chosen] = self._turns
                self._begin(chosen)
                turn.set_result(None)
                break
        self._last = Counter({key: at for key, at in self._last.items() if key in self._lines or key in self._at_work})
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
