"""Engine lease: calls to one engine run beside each other, or one has it to itself.

Between `claim` and `use` nothing else runs; a turn whose owner does not come lapses after `LEASE_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

LEASE_S = 5.0  # a turn whose owner does not come is over after so long: that process has died too


class Lease:
    """Who may call now. `claim` first, `use` then: between the two its owner knows that nobody else is at work."""

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self._changed = asyncio.Condition()
        self._numbers = count(1)
        self._running = 0
        self._owner: int | None = None
        self._lapse: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Beside others; waits while a turn is claimed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._owner is None)
            self._running += 1
        try:
            yield
        finally:
            async with self._changed:
                self._running -= 1
                self._changed.notify_all()

    async def claim(self) -> int:
        """Hold off all others, wait until those at work have finished, and return the number of the turn."""
        number = next(self._numbers)
        async with self._changed:
            await self._changed.wait_for(lambda: self._owner is None)
            self._owner = number
            try:
                await self._changed.wait_for(lambda: self._running == 0)
            except BaseException:
                self._end()
                raise
        loop = asyncio.get_running_loop()
        self._lapse = loop.call_later(self.lease_s, lambda: loop.create_task(self._release(number)))
        return number

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """With nobody else at work, for an owner in this process."""
        async with self.use(await self.claim()):
            yield

    @asynccontextmanager
    async def use(self, number: int) -> AsyncIterator[None]:
        """The claimed turn; one that has lapsed runs beside others."""
        if self._owner != number:
            async with self.together():
                yield
            return
        if self._lapse is not None:
            self._lapse.cancel()
        try:
            yield
        finally:
            await self._release(number)

    async def _release(self, number: int) -> None:
        async with self._changed:
            if self._owner == number:
                self._end()

    def _end(self) -> None:
        self._owner = None
        self._changed.notify_all()
