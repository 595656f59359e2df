"""An endpoint that sees when its clients leave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from tests.support.openai_server import Body, OpenAIServer, Step


@dataclass
class Endpoint(OpenAIServer):
    """Counts the clients that hung up before their answer; while `held` is True none gets one."""

    gone: int = 0
    held: bool = False

    async def _act(self, step: Step, request: web.Request, body: Body) -> web.StreamResponse:
        while self.held:
            await asyncio.sleep(0.02)
        return await super()._act(step, request, body)

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
