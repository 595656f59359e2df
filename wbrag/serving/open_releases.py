"""Open releases: what is kept open of the releases used last, whatever that is, until it is let go of."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from wbrag.units.releases import Release

KEPT = 3  # releases held open: the present one, the one before it, and one that somebody asks for
T = TypeVar("T")


class OpenReleases(Generic[T]):
    """The `keep` releases used last; releases that answer from the same files are one, so a rollback opens nothing."""

    def __init__(self, open: Callable[[Release], Awaitable[T]], unused_s: float, keep: int = KEPT) -> None:
        """`unused_s`: how long after its last use a release of another base may still be asked for."""
        self.open, self.unused_s, self.keep = open, unused_s, keep
        self.tasks: OrderedDict[str, asyncio.Task[T]] = OrderedDict()
        self._used: dict[str, tuple[str, float]] = {}  # base of each, and when it was last asked for
        self._base = ""  # of the release that was prepared last

    async def get(self, release: Release) -> T:
        """What is open of `release`; raises what opening it raised, and then tries again the next time."""
        key = " ".join(release.files)
        task = self.tasks.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(self._opened(release))
            self.tasks[key] = task
        self.tasks.move_to_end(key)
        self._used[key] = release.base_sha256, asyncio.get_running_loop().time()
        while len(self.tasks) > self.keep:
            self._used.pop(self.tasks.popitem(last=False)[0], None)
        return await asyncio.shield(task)  # others may wait for it too

    async def prepare(self, release: Release) -> T:
        """Open `release`. Releases of another base are let go of once what was begun on them is over.

        Two bases may be all that a machine holds. One that is asked for again is opened again.
        """
        found = await self.get(release)
        self._base = release.base_sha256
        if any(base != release.base_sha256 for base, _ in self._used.values()):
            asyncio.get_running_loop().call_later(self.unused_s, self._let_go)
        return found

    async def _opened(self, release: Release) -> T:
        return await self.open(release)

    def _let_go(self) -> None:
        now = asyncio.get_running_loop().time()
        for key, (other, used) in list(self._used.items()):
            left = self.unused_s - (now - used)
            if other != self._base and left <= 0:
                self.tasks.pop(key, None)
                del self._used[key]
            elif other != self._base:  # used meanwhile, by a gateway that knew no better, or a request under way
                asyncio.get_running_loop().call_later(left + 0.001, self._let_go)


def unused_after(timeout_s: float, poll_s: float) -> float:
    """Gateways learn of a release within one look, and a request has its time."""
    return timeout_s + 2 * poll_s
