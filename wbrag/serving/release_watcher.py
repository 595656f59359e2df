"""Release watcher: follows the releases table, and names the release that answers.

It moves on only once a newer release has been prepared; one that cannot be leaves the present one answering.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Protocol

from wbrag.core.errors import StoreError, WbragError
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

RETRY_S = 600.0  # a refused release is tried again after so long, when the table changes, or while nothing answers
log = logging.getLogger(__name__)


class Prepares(Protocol):
    """Whoever loads releases: a `ReleaseRetriever`, or a `ShardGroup`."""

    async def prepare(self, release: Release) -> None: ...


class ReleaseWatcher:
    """`release` answers, None before the first; `refused` holds newer ones that failed, each with the reason."""

    def __init__(self, layout: Layout, retriever: Prepares, poll_s: float = 2.0, *, retry_s: float = RETRY_S) -> None:
        self.layout, self.retriever, self.poll_s, self.retry_s = layout, retriever, poll_s, retry_s
        self.release: Release | None = None
        self.refused: dict[str, str] = {}
        self._seen: tuple[int, str] | None = None
        self._retry_at = 0.0
        self._polling: asyncio.Task[None] | None = None
        self._refreshing = asyncio.Lock()

    @property
    def ready(self) -> bool:
        return self.release is not None

    async def start(self) -> None:
        """Look at the table once, then every `poll_s` seconds."""
        await self.refresh()
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
            self._polling = None

    async def refresh(self) -> None:
        """Move to the newest release that can be prepared; what cannot be read for a moment changes nothing."""
        async with self._refreshing:
            try:
                state = await asyncio.to_thread(self._state)
                if self.release and state == self._seen and (not self.refused or time.monotonic() < self._retry_at):
                    return
                newer = await asyncio.to_thread(self._newer)
                self._seen = state if await self._move(newer) else None
            except Exception as error:  # the shared disk is away: the next look will tell
                log.warning("the releases could not be looked at: %s", " ".join(str(error).split())[:300])

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self.poll_s)
            await self.refresh()

    def _state(self) -> tuple[int, str]:
        """Changes with the releases table and with the base index in use."""
        pointer = self.layout.path / "index" / "base.json"
        return self.layout.releases.log.version, pointer.read_text(encoding="utf-8") if pointer.is_file() else ""

    def _newer(self) -> list[Release]:
        """What could answer in place of the present release, newest first."""
        rows = self.layout.releases.all()
        if not rows and self.release is not None and self.release.number:
            raise WbragError("expected the releases table to grow only, found it empty: is the shared disk there?")
        if not rows:
            base = self.layout.release("none")
            return [base] if base != self.release else []
        number, present = (self.release.number, self.release) if self.release else (0, None)
        # also one of the same number: a release that a power loss took back may be issued again, of other contents
        newer = [row for row in reversed(rows) if row.number > number or (row.number == number and row != present)]
        return newer if self.release else [*newer, self.layout.release("none")]

    async def _move(self, newer: list[Release]) -> bool:
        """False where an error of the moment kept a release from being tried: the next look tries it again."""
        refused: dict[str, str] = {}
        settled = True
        for row in newer:
            try:
                await self.retriever.prepare(row)
            except StoreError as error:  # which is no verdict either
                settled = False
                log.warning("release %s could not be read: %s", row.id, error)
            except WbragError as error:
                refused[row.id] = str(error)
                if self.refused.get(row.id) != str(error):
                    log.error("release %s is refused: %s", row.id, error)
            except Exception as error:  # a replica or the disk is away, which is no verdict
                settled = False
                log.warning("release %s could not be tried: %s", row.id, " ".join(str(error).split())[:300])
            else:
                log.info("release %s answers from now on", row.id)
                self.release = row
                break
        self.refused, self._retry_at = refused, time.monotonic() + self.retry_s
        return settled
