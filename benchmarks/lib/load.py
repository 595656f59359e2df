"""A light client: many requests in one process, in a closed loop or at a steady rate, and what they took."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from lib.endpoints import Endpoint

Body = dict[str, Any]
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Took:
    """What one load came to. `latencies` in seconds, sorted; `cpu` is CPU seconds by process, the client's own too."""

    replies: list[Body]
    latencies: list[float]
    seconds: float
    cpu: Counter[str]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.replies) / self.seconds

    def percentile(self, p: int) -> float:
        """Milliseconds."""
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[p - 1] * 1e3

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the endpoint per request."""
        return sum(s for name, s in self.cpu.items() if name != "client") / len(self.replies) * 1e3


def closed(endpoint: Endpoint, bodies: Sequence[Body], clients: int) -> Took:
    """`clients` that each ask, wait for the answer, and ask again, until all `bodies` are answered."""

    async def load(session: aiohttp.ClientSession) -> list[tuple[Body, float]]:
        found: list[tuple[Body, float] | None] = [None] * len(bodies)
        waiting = iter(enumerate(bodies))

        async def client() -> None:
            for i, body in waiting:
                found[i] = await _ask(session, body)

        await asyncio.gather(*(client() for _ in range(clients)))
        return [one for one in found if one]

    return asyncio.run(_timed(endpoint, load))


def steady(endpoint: Endpoint, bodies: Sequence[Body], rate: float) -> Took:
    """`rate` requests a second, whether those before them are answered or not."""

    async def load(session: aiohttp.ClientSession) -> list[tuple[Body, float]]:
        begun, start = [], time.perf_counter()
        for i, body in enumerate(bodies):
            await asyncio.sleep(max(0.0, start + i / rate - time.perf_counter()))
            begun.append(asyncio.create_task(_ask(session, body)))
        return await asyncio.gather(*begun)

    return asyncio.run(_timed(endpoint, load))


async def _timed(endpoint: Endpoint, load: Any) -> Took:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(endpoint.url, connector=connector) as session:
        before, own, start = endpoint.cpu(), time.process_time(), time.perf_counter()
        found = await load(session)
        seconds = time.perf_counter() - start
        cpu = endpoint.cpu()
        cpu.subtract(before)
        cpu["client"] = time.process_time() - own  # type: ignore[assignment]
    return Took([reply for reply, _ in found], sorted(s for _, s in found), seconds, cpu)


async def _ask(session: aiohttp.ClientSession, body: Body) -> tuple[Body, float]:
    start = time.perf_counter()
    async with session.post(body.get("path", CHAT), json=body["body"]) as response:
        raw = await response.read()
    taken = time.perf_counter() - start
    if response.status != 200:
        raise SystemExit(f"expected an answer, found HTTP {response.status}: {raw[:300].decode()}")
    return json.loads(raw), taken
