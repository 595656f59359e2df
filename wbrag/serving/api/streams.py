"""Streams: an answer's pieces as server-sent events, which begin at once and are never idle for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Self

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from wbrag.serving.adapters import Emit
from wbrag.serving.api.disconnect import stream_until_disconnect
from wbrag.serving.requests import Reply

FIRST_S = 1.0  # a stream begins by then, whether there is a word or not
ALIVE_S = 10.0  # load balancers cut what is idle for a minute, some sooner
ALIVE = ": still working\n\n"


class Events(StreamingResponse):
    """Server-sent events. `stream_until_disconnect` listens for the client's leaving, so nothing else does."""

    def __init__(self, events: AsyncGenerator[str, None], pieces: Pieces) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self.events, self.pieces = events, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.pieces), aclosing(self.events):
            await self.stream_response(send)


class Pieces:
    """The pieces of an answer one by one, waited for as long as one likes and no longer."""

    def __init__(self, source: AsyncGenerator[str | Reply, None]) -> None:
        self._source = source
        self._next = asyncio.ensure_future(anext(source))

    @classmethod
    async def of(cls, request: Request, work: Callable[[Emit], Coroutine[Any, Any, Reply]]) -> Self:
        """Those of `work`; what fails at once is an ordinary error with its status."""
        pieces = cls(stream_until_disconnect(request, work))
        try:
            await pieces.wait(FIRST_S)
        except BaseException:
            await pieces.aclose()
            raise
        return pieces

    async def wait(self, seconds: float | None = None) -> bool:
        """Whether the next one is there within `seconds`, or `ALIVE_S`; raises what kept it from coming."""
        if not (await asyncio.wait({self._next}, timeout=ALIVE_S if seconds is None else seconds))[0]:
            return False
        if self._next.cancelled() or self._next.exception() is not None:
            self._next.result()
        return True

    def take(self) -> str | Reply:
        """The next one, which is there."""
        piece = self._next.result()
        if isinstance(piece, str):
            self._next = asyncio.ensure_future(anext(self._source))
        return piece

    async def aclose(self) -> None:
        self._next.cancel()
        await asyncio.gather(self._next, return_exceptions=True)
        await self._source.aclose()
