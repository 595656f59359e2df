"""What a gateway needs around it: a library from a table, a release in use, a generator that streams, a server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.support.scripted import Call, ScriptedGenerator
from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.core.types import Completion, Hit, Message, Prompt, Sampling
from wbrag.retrieval.encoder import Vectors, encoder_fingerprint
from wbrag.serving.api.app import create_app
from wbrag.units.layout import Layout
from wbrag.units.releases import Release, now, release_id

UNIT = Hit("wb-0123456789abcdef", "Corvane gauge", "The Corvane gauge was designed by Ada Thorn.", 0.9, "writeback")
PASSAGE = Hit("p1", "Corvane", "The gauge of Corvane measures tides.", 0.8)


@dataclass
class ScriptedStream(ScriptedGenerator):
    """A `ScriptedGenerator` that also streams, word by word, waiting `pause_s` before each.

    `cancelled` counts the calls that were cut off before their end.
    """

    pause_s: float = 0.0
    cancelled: int = 0
    starts: int = 0

    async def start(self) -> None:
        self.starts += 1

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        try:
            return await super().generate(prompt, sampling)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        whole = await self.generate(prompt, sampling)
        self.calls[-1] = Call(tuple(messages), replace(sampling, logprobs=None))
        ended = False
        try:
            for number, piece in enumerate(whole.pieces, 1):
                await asyncio.sleep(self.pause_s)
                last = number == len(whole.pieces)
                yield Completion(piece, 1, whole.prompt_tokens, whole.finish_reason if last else "")
            ended = True
        finally:
            self.cancelled += not ended


@dataclass
class TableLibrary:
    """`ReleaseRetriever`: per release the hits that every query gets."""

    hits: Mapping[str, Sequence[Hit]] = field(default_factory=dict)
    default: Sequence[Hit] = (UNIT, PASSAGE)
    delay_s: float = 0.0
    calls: list[tuple[str, str, int]] = field(default_factory=list)
    broken: str = ""
    dimension: int = 3

    async def search(
        self, queries: Sequence[str], k: int, release: Release, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        self.calls += [(query, release.id, k) for query in queries]
        await asyncio.sleep(self.delay_s)
        if self.broken:
            raise WbragError(self.broken)
        return [list(self.hits.get(release.id, self.default))[:k] for _ in queries]

    async def embed(self, contents: Sequence[str], queries: bool = False) -> Vectors:
        return np.eye(len(contents), self.dimension, dtype=np.float32)

    async def nearest(self, contents: Sequence[str], vectors: Vectors, k: int, release: Release) -> list[list[Hit]]:
        return await self.search(contents, k, release)

    async def prepare(self, release: Release) -> None:
        """Nothing to load."""


@dataclass
class Settled:
    """The release in use, set by hand."""

    release: Release | None
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.release is not None

    async def start(self) -> None:
        """Nothing to follow."""

    async def stop(self) -> None:
        """Nothing to stop following."""

    async def refresh(self) -> None:
        """Nothing to look at."""


@dataclass
class Bench:
    """A gateway with its parts in reach."""

    app: FastAPI
    store: Layout
    library: TableLibrary
    generator: ScriptedStream
    current: Settled


def bench(folder: Path, generator: ScriptedStream | None = None, **serving: Any) -> Bench:
    """A gateway over two releases, r0001 and r0002, the second in use; `serving` are settings of that section."""
    config = load(workspace=str(folder), serving=serving)
    store = Layout(config=config)
    encoder = encoder_fingerprint(config.encoder)
    for number in (1, 2):
        row = Release(release_id(number), number, "publish", now(), "", "", "b", "0", "w", str(number), 0, 1, encoder)
        store.releases.append(row)
    generator = generator or ScriptedStream(lambda messages, sampling: "\n Ada Thorn \nand more")
    library, current = TableLibrary(), Settled(row)
    return Bench(create_app(store, library, generator, current), store, library, generator, current)


def browse(app: FastAPI, host: str = "localhost", peer: str = "127.0.0.1", **options: Any) -> TestClient:
    """A client of this machine, or of another `peer`."""
    return TestClient(app, base_url=f"http://{host}", client=(peer, 50000), **options)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app's address, under uvicorn in a thread; stopped as a signal would stop it."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, 60)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def until(true: Any, seconds: float = 60.0) -> None:
    """Wait until `true()`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
