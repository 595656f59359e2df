"""Model health: up once the generator has started, down once several answers in a row have failed by it.

A generator that is down is started again until it is up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wbrag.core.types import Generator
from wbrag.serving.adapters import StreamingGenerator

FAILURES = 3  # answers in a row that the model fails before the gateway says that it is down
RETRY_S = 5.0

log = logging.getLogger("wbrag.serving")


class Health:
    """Starts the generator, and starts it again when it seems to be gone; `up` is what `/readyz` says."""

    def __init__(self, generator: Generator, retry_s: float = RETRY_S) -> None:
        self.generator, self.retry_s = generator, retry_s
        self.up = False
        self.error = ""  # why the last start failed
        self._failures = 0
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())

    async def stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            with suppress(asyncio.CancelledError):
                await self._starting
        await self.generator.close()

    @contextmanager
    def observing(self, generator: StreamingGenerator) -> Iterator[None]:
        """Note how one answer's calls went."""
        try:
            yield
        except Exception:
            if generator.failed:
                self._failures += 1
            if self._failures >= FAILURES and self.up:
                self.up = False
                log.error("the model has failed several answers in a row")
                self.start()
            raise
        self._failures = 0

    async def _start(self) -> None:
        while True:
            try:
                await self.generator.start()
            except Exception as error:
                self.error = str(error)[:500]
                log.error("the model did not start", extra={"fields": {"error": self.error}})
                await asyncio.sleep(self.retry_s)
            else:
                self.up, self.error, self._failures = True, "", 0
                return
