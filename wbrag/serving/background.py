"""Background tasks: work that goes on when its caller leaves, such as publishing from a page.

No hang-up cancels it; draining waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger("wbrag.serving")
T = TypeVar("T")


class Background:
    """Tasks that no hang-up cancels, kept until they are done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; where the caller is cancelled it runs on to its end, and the log has its error."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_report)
            raise

    async def ended(self, longest_s: float) -> bool:
        """Wait for what was begun; False where that took longer than `longest_s`."""
        if self._tasks:
            _, unfinished = await asyncio.wait(set(self._tasks), timeout=longest_s)
            return not unfinished
        return True


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("what was begun from a page failed", extra={"fields": {"error": " ".join(str(error).split())[:500]}})
