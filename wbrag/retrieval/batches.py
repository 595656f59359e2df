"""Coroutines' requests worked on together: whatever arrives while one batch is running is the next batch.

Nothing waits for a fixed time, and one request alone is a batch of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")


@dataclass
class _Queue:
    """Of one event loop."""

    waiting: list[tuple[Any, asyncio.Future[Any]]] = field(default_factory=list)
    worker: asyncio.Task[None] | None = None


class Batches(Generic[Item, Result]):
    """`work` turns a batch of items into as many results, in a thread of its own and one batch at a time.

    What it raises, every caller of that batch is told.
    """

    def __init__(self, work: Callable[[list[Item]], Iterable[Result]], name: str) -> None:
        self._work = work
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(self, items: Sequence[Item]) -> list[Result]:
        """The result of each item."""
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(loop, _Queue())
        futures: list[asyncio.Future[Result]] = [loop.create_future() for _ in items]
        queue.waiting += zip(items, futures)
        if queue.worker is None or queue.worker.done():
            queue.worker = loop.create_task(self._drain(queue))
        return await asyncio.gather(*futures)

    async def alone(self, work: Callable[..., Value], *arguments: Any) -> Value:
        """Other work of the same thread, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _drain(self, queue: _Queue) -> None:
        await asyncio.sleep(0)  # let the coroutines that woke together join the batch
        while queue.waiting:
            batch = [(item, future) for item, future in queue.waiting if not future.done()]  # else its caller has left
            queue.waiting = []
            if not batch:
                continue
            try:
                results = await self.alone(self._work, [item for item, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
