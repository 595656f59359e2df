"""Deadlines and disconnects: a request's work ends when its time is over or its client hangs up.

A client may shorten the operator's time, never lengthen it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request

from wbrag.serving.adapters import Emit
from wbrag.serving.answer_ids import issue
from wbrag.serving.api.middleware import ClientDisconnected, add_log_fields
from wbrag.serving.auth import Principal
from wbrag.serving.errors import Refusal
from wbrag.serving.requests import Caller

T = TypeVar("T")


def caller_of(request: Request, who: Principal) -> Caller:
    """The request's ids, caller and deadline; `x-request-timeout` (seconds) may make that earlier, never later."""
    service = request.app.state.service
    answer_id = issue(service.secret, who.name)
    add_log_fields(request.scope, by=who.name, answer_id=answer_id)
    longest: float = service.settings.timeout_s
    if given := request.headers.get("x-request-timeout"):
        try:
            seconds = float(given)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise Refusal(400, "x-request-timeout: expected seconds above 0: correct it", param="x-request-timeout")
        longest = min(longest, seconds)
    deadline = asyncio.get_running_loop().time() + longest
    return Caller(request.scope["request_id"], answer_id, who.name, deadline, who.sees)


async def stream_until_disconnect(
    request: Request, work: Callable[[Emit], Coroutine[Any, Any, T]]
) -> AsyncGenerator[str | T, None]:
    """The pieces that `work` emits, then its result. A client that hangs up, or a closed iterator, cancels `work`.

    The request's body must have been read.
    """
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    task = asyncio.create_task(work(pieces.put_nowait))
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    leaving = asyncio.create_task(_disconnected(request))
    leaving.add_done_callback(lambda _: task.cancel())
    try:
        while (piece := await pieces.get()) is not None:
            yield piece
        if task.cancelled():
            raise ClientDisconnected
        yield task.result()
    finally:
        leaving.cancel()
        task.cancel()
        await asyncio.gather(leaving, task, return_exceptions=True)


async def run_until_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up."""
    async with aclosing(stream_until_disconnect(request, lambda _: work)) as results:
        async for result in results:  # nothing is emitted: the first is the result
            assert not isinstance(result, str)
            return result
    raise ClientDisconnected


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
