"""Model actors: an encoder or a shard each, and the handles that speak wbrag's protocols for them.

A search names its shard, so that a restarted actor never answers from another.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from itertools import count
from typing import Any

import ray

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.env import hide_gpus, openmp
from wbrag.core.io.files import location
from wbrag.core.model_sections import EncoderConfig
from wbrag.core.types import Hit, Origin
from wbrag.executor.ray.corpus_blocks import Piece
from wbrag.retrieval.encoder import BatchedEncoder, Encoder, Vectors
from wbrag.retrieval.hybrid import Words
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import open_shard
from wbrag.retrieval.index.vector_store import VectorStore
from wbrag.retrieval.reranker import LocalReranker, Pair, RerankerModel, open_reranker
from wbrag.retrieval.retriever import LocalShard

POLL_S = 0.1
RERANKERS = 2  # kept open in one process


class EncoderActor:
    def __init__(self, settings: EncoderConfig) -> None:
        os.environ.update(openmp(settings.actors[1]))  # before the encoder loads torch, which reads it
        if not settings.gpus_per_actor:
            hide_gpus()
        self.encoder = Encoder(settings)
        self.batched = BatchedEncoder(self.encoder)
        self._rerankers: dict[str, asyncio.Task[LocalReranker]] = {}

    async def dimension(self) -> int:
        return self.encoder.dimension

    async def queries(self, texts: Sequence[str]) -> Vectors:
        return await self.batched.queries(texts)

    async def passages(self, contents: Sequence[str]) -> Vectors:
        return await asyncio.to_thread(self.encoder.encode_passages, contents)

    async def embed(self, piece: Piece, folder: str) -> int:
        """Encode the passages of a piece and write their pack; how many they are."""
        vectors = await self.batched.passages(await asyncio.to_thread(piece.contents))
        await asyncio.to_thread(VectorStore(location(folder)).keep, piece.name, piece.keys, vectors)
        return len(vectors)

    async def logits(self, key: str, model: RerankerModel, pairs: Sequence[Pair]) -> list[float]:
        """The reranker shares the encoder's process, and its GPU; it is loaded by the first who asks.

        `key` is its fingerprint, which takes long to work out for a folder.
        """
        task = self._rerankers.pop(key, None)
        if task is None or (task.done() and (task.cancelled() or task.exception())):  # what failed is tried again
            task = asyncio.create_task(asyncio.to_thread(open_reranker, model))
        self._rerankers[key] = task
        while len(self._rerankers) > RERANKERS:
            del self._rerankers[next(iter(self._rerankers))]
        return await (await task).logits(pairs)


class ShardActor:
    """Holds one shard at a time. Each call says which, so that a restarted actor never answers from another."""

    def __init__(self, root: str, gpu: bool) -> None:
        os.environ.update(openmp())  # before FAISS and torch read it
        if not gpu:
            hide_gpus()
        self.root, self.gpu = location(root), gpu
        self.opened: tuple[Manifest, Origin] | None = None
        self.shard: Any = None
        self._opening = asyncio.Lock()

    async def open(self, index: Manifest, origin: Origin) -> bool:
        """Verify and load the only shard of `index`; a damaged file is reported here, to whoever waits."""
        await self._opened(index, origin)
        return True

    async def search(
        self,
        index: Manifest,
        origin: Origin,
        queries: Vectors,
        k: int,
        words: Words | None = None,
        allowed: Allowed = EVERYTHING,
    ) -> list[list[Hit]]:
        shard = await self._opened(index, origin)
        found: list[list[Hit]] = await shard.search(queries, k, words, allowed)
        return found

    async def _opened(self, index: Manifest, origin: Origin) -> Any:
        async with self._opening:
            if self.opened != (index, origin):
                [files] = index.shards
                self.opened = self.shard = None  # its memory first
                shard = await asyncio.to_thread(open_shard, self.root, files, index, origin, gpu=self.gpu)
                self.opened, self.shard = (index, origin), LocalShard(shard)
            return self.shard


class RemoteEncoder:
    """The `TextEncoder` protocol over encoder actors, which join as they come up.

    `starting` are the references that resolve to the dimension when the actor of the same position is ready.
    """

    def __init__(self, actors: Sequence[Any], starting: Sequence[Any]) -> None:
        self._up: list[Any] = []
        self._dimension = 0
        self._starting = dict(zip(starting, actors, strict=True))
        self._turn = count()

    def up(self) -> list[Any]:
        """The actors that are up; raises what kept one from coming up where no other is, or may be."""
        waiting = list(self._starting)
        for done in ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []:
            actor = self._starting.pop(done)
            try:
                self._dimension = ray.get(done)
            except ray.exceptions.RayError:
                if not self._up and not self._starting:
                    raise
            else:
                self._up.append(actor)
        return self._up

    def dimension(self) -> int:
        """Of its vectors, which every actor says when it is up; 0 while none is."""
        self.up()
        return self._dimension

    async def next_actor(self) -> Any:
        """In turn, of those that are up."""
        while not (up := self.up()):
            await asyncio.sleep(POLL_S)
        return up[next(self._turn) % len(up)]

    async def queries(self, texts: Sequence[str]) -> Vectors:
        return await (await self.next_actor()).queries.remote(list(texts))  # type: ignore[no-any-return]

    async def passages(self, contents: Sequence[str]) -> Vectors:
        return await (await self.next_actor()).passages.remote(list(contents))  # type: ignore[no-any-return]


class RemoteReranker:
    """The `Reranker` protocol over the encoder actors, which load it."""

    def __init__(self, encoder: RemoteEncoder, model: RerankerModel) -> None:
        self.encoder, self.model, self.key = encoder, model, model.fingerprint

    async def logits(self, pairs: Sequence[Pair]) -> list[float]:
        actor = await self.encoder.next_actor()
        return await actor.logits.remote(self.key, self.model, list(pairs))  # type: ignore[no-any-return]


class RemoteShard:
    """The `ShardSearcher` protocol over a shard actor; `index` has this one shard."""

    def __init__(self, actor: Any, index: Manifest, origin: Origin) -> None:
        self.actor, self.index, self.origin = actor, index, origin

    async def search(
        self, queries: Vectors, k: int, words: Words | None = None, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        found: list[list[Hit]] = await self.actor.search.remote(self.index, self.origin, queries, k, words, allowed)
        return found
