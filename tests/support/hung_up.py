"""An endpoint that sees when its clients leave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from tests.support.openai_server import OpenAIServer


@dataclass
class Endpoint(OpenAIServer):
    """Counts the clients that hung up before their answer."""

    gone: int = 0

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        watching = asyncio.create_task(self._watch(request))
        try:
            return await super()._chat(request)
        finally:
            watching.cancel()

    async def _watch(self, request: web.Request) -> None:
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.02)
        self.gone += 1
