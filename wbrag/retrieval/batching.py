"""Dynamic batching: the requests that arrive while one batch is running are the next batch.

Nothing waits for a fixed time, and one request alone is a batch of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class _Queue:
    """Of one event loop."""

    waiting: list[tuple[Any, asyncio.Future[Any]]] = field(default_factory=list)
    worker: asyncio.Task[None] | None = None


class Batcher(Generic[Item, Result]):
    """`work` turns a batch of items into as many results, one batch of an event loop at a time.

    It runs in `thread`, or in a thread of the loop, which then waits for it before it closes. What it raises, every
    caller of that batch is told. `most` items are one batch: where an item takes long, those who came first are
    answered first.
    """

    def __init__(
        self, work: Callable[[list[Item]], Iterable[Result]], thread: Executor | None = None, most: int | None = None
    ) -> None:
        self._work, self._thread, self._most = work, thread, most
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()

    async def __call__(self, items: Sequence[Item]) -> list[Result]:
        """The result of each item."""
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(loop, _Queue())
        futures: list[asyncio.Future[Result]] = [loop.create_future() for _ in items]
        queue.waiting += zip(items, futures)
        if queue.worker is None or queue.worker.done():
            queue.worker = loop.create_task(self._drain(queue))
        return await asyncio.gather(*futures)

    async def _drain(self, queue: _Queue) -> None:
        await asyncio.sleep(0)  # let the coroutines that woke together join the batch
        while queue.waiting:
            wanted = [(item, future) for item, future in queue.waiting if not future.done()]  # else its caller has left
            batch, queue.waiting = wanted[: self._most], wanted[self._most :] if self._most else []
            if not batch:
                continue
            try:
                items = [item for item, _ in batch]
                results = await asyncio.get_running_loop().run_in_executor(self._thread, self._work, items)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
