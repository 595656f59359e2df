"""Actors that hold an engine, an encoder or a shard, and the handles that speak the library's protocols for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import ray

from wbrag.config import Config
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.manifest import Manifest
from wbrag.sections import EncoderConfig
from wbrag.types import Completion, Generator, Hit, Messages, NextTokens, Origin, Prompt, Sampling, Scored


class EngineActor:
    """A generator of its own: a vLLM engine, or a client of an endpoint."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.generator: Generator | None = None

    async def ready(self) -> bool:
        """Start the engine; a bad setting is refused here, before any work."""
        from wbrag.generators import build
        from wbrag.generators.memo import Remembering

        generator = Remembering(build(self.config))
        await generator.start()
        self.generator = generator
        return True

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        return await (await self._running()).generate(prompt, sampling)

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        return await (await self._running()).score(prompt, continuation)

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        return await (await self._running()).next_tokens(prompt, prefix, top)

    async def decode(self, ids: Sequence[int]) -> str:
        return await (await self._running()).decode(ids)

    async def knows(self, tokens: Sequence[str]) -> bool:
        return await (await self._running()).knows(tokens)

    async def close(self) -> None:
        if self.generator is not None:
            await self.generator.close()
            self.generator = None

    async def _running(self) -> Generator:
        if self.generator is None:  # this actor was restarted
            await self.ready()
        assert self.generator is not None
        return self.generator


class EncoderActor:
    def __init__(self, settings: EncoderConfig) -> None:
        from wbrag.retrieval.encoder import BatchedEncoder, Encoder

        self.encoder = Encoder(settings)
        self.batched = BatchedEncoder(self.encoder)

    async def dimension(self) -> int:
        return self.encoder.dimension

    async def queries(self, texts: Sequence[str]) -> Vectors:
        return await self.batched.queries(texts)

    async def passages(self, contents: Sequence[str]) -> Vectors:
        return await asyncio.to_thread(self.encoder.encode_passages, contents)


class ShardActor:
    """Holds one shard at a time. Each call says which, so that a restarted actor never answers from another."""

    def __init__(self, root: str, gpu: bool) -> None:
        self.root, self.gpu = Path(root), gpu
        self.opened: tuple[Manifest, Origin] | None = None
        self.shard: Any = None

    def open(self, index: Manifest, origin: Origin) -> bool:
        """Verify and load the only shard of `index`; a damaged file is reported here, to whoever waits."""
        from wbrag.retrieval.shard import Shard

        if self.opened != (index, origin):
            [files] = index.shards
            self.opened = self.shard = None  # its memory first
            self.shard = Shard(self.root, files, index, origin, gpu=self.gpu)
            self.opened = index, origin
        return True

    def search(self, index: Manifest, origin: Origin, queries: Vectors, k: int) -> list[list[Hit]]:
        self.open(index, origin)
        found: list[list[Hit]] = self.shard.search(queries, k)
        return found


class RemoteGenerator:
    """The `Generator` protocol over engine actors, in turn; engines join as they come up, those that fail never.

    `starting` are the references that resolve when the engine of the same position is ready.
    """

    def __init__(self, engines: Sequence[Any], starting: Sequence[Any], fingerprint: str) -> None:
        self.fingerprint, self._turn = fingerprint, count()
        self._ready: list[Any] = []
        self._starting = dict(zip(starting, engines))

    def _next(self) -> Any:
        while self._starting:
            wanted = 1 if not self._ready else len(self._starting)
            done, _ = ray.wait(list(self._starting), num_returns=wanted, timeout=0 if self._ready else None)
            for reference in done:
                engine = self._starting.pop(reference)
                try:
                    ray.get(reference)
                    self._ready.append(engine)
                except ray.exceptions.RayError:
                    if not self._ready and not self._starting:
                        raise
            if self._ready:
                break
        return self._ready[next(self._turn) % len(self._ready)]

    async def start(self) -> None:
        """The session has started the engines."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        return await self._next().generate.remote(prompt, sampling)  # type: ignore[no-any-return]

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        return await self._next().score.remote(prompt, continuation)  # type: ignore[no-any-return]

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        return await self._next().next_tokens.remote(prompt, prefix, top)  # type: ignore[no-any-return]

    async def decode(self, ids: Sequence[int]) -> str:
        return await self._next().decode.remote(ids)  # type: ignore[no-any-return]

    async def knows(self, tokens: Sequence[str]) -> bool:
        return await self._next().knows.remote(tokens)  # type: ignore[no-any-return]

    async def close(self) -> None:
        for engine in [*self._ready, *self._starting.values()]:
            await engine.close.remote()


class RemoteEncoder:
    """The `QueryEncoder` protocol over encoder actors, and the passages of an index build."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self.actors, self._turn = actors, count()

    def _next(self) -> Any:
        return self.actors[next(self._turn) % len(self.actors)]

    async def queries(self, texts: Sequence[str]) -> Vectors:
        return await self._next().queries.remote(list(texts))  # type: ignore[no-any-return]

    async def passages(self, contents: Sequence[str]) -> Vectors:
        return await self._next().passages.remote(list(contents))  # type: ignore[no-any-return]


class RemoteShard:
    """The `ShardSearcher` protocol over a shard actor; `index` has this one shard."""

    def __init__(self, actor: Any, index: Manifest, origin: Origin) -> None:
        self.actor, self.index, self.origin = actor, index, origin

    async def search(self, queries: Vectors, k: int) -> list[list[Hit]]:
        return await self.actor.search.remote(self.index, self.origin, queries, k)  # type: ignore[no-any-return]
