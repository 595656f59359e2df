"""The retriever: encode once, ask every shard, merge exactly. The same class with local and with remote shards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from wbrag.retrieval.encoder import QueryEncoder, Vectors
from wbrag.retrieval.merge import best, merge
from wbrag.retrieval.shard import Shard
from wbrag.sections import RetrievalConfig
from wbrag.types import Hit, Origin

Found = asyncio.Future[list[list[Hit]]]


class ShardSearcher(Protocol):
    """A shard in this process or the handle of one elsewhere."""

    origin: Origin

    async def search(self, queries: Vectors, k: int) -> list[list[Hit]]: ...


class Base(Protocol):
    """Base passages that are kept elsewhere; given the queries and their vectors [n, d], whichever it searches by."""

    async def search(self, queries: Sequence[str], vectors: Vectors, k: int) -> list[list[Hit]]:
        """The best `k` passages of each query; scores compare with those of wbrag's own shards."""
        ...


class LocalShard:
    """A shard of this process; FAISS releases the interpreter lock, so it searches in a thread.

    Searches for the same k that come together, as those of queries that were encoded together do, are one search.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard, self.origin = shard, shard.origin
        self._waiting: dict[tuple[asyncio.AbstractEventLoop, int], list[tuple[Vectors, Found]]] = {}
        self._searching: set[asyncio.Task[None]] = set()

    async def search(self, queries: Vectors, k: int) -> list[list[Hit]]:
        loop = asyncio.get_running_loop()
        found: Found = loop.create_future()
        waiting = self._waiting.setdefault((loop, k), [])
        waiting.append((queries, found))
        if len(waiting) == 1:
            task = loop.create_task(self._search(loop, k))
            self._searching.add(task)
            task.add_done_callback(self._searching.discard)
        return await found

    async def _search(self, loop: asyncio.AbstractEventLoop, k: int) -> None:
        await asyncio.sleep(0)  # let the searches that woke together join
        batch = self._waiting.pop((loop, k))
        try:
            hits = await asyncio.to_thread(self.shard.search, np.concatenate([queries for queries, _ in batch]), k)
        except Exception as error:
            for _, found in batch:
                if not found.done():
                    found.set_exception(error)
            return
        row = 0
        for queries, found in batch:
            if not found.done():  # else its caller has left
                found.set_result(hits[row : row + len(queries)])
            row += len(queries)


class IndexRetriever:
    """Base index and write-back index behind the `Retriever` protocol. `base` is searched beside the shards."""

    def __init__(
        self,
        encoder: QueryEncoder,
        shards: Sequence[ShardSearcher],
        settings: RetrievalConfig = RetrievalConfig(),
        sources: Mapping[str, frozenset[str]] | None = None,
        base: Base | None = None,
    ) -> None:
        self.encoder, self.shards, self.settings, self.base = encoder, shards, settings, base
        self.sources = sources if settings.displace_sources else None
        self.spare = max(map(len, self.sources.values()), default=0) if self.sources else 0

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` hits of each query over both indexes, best first; ties by id."""
        if not queries:
            return []
        vectors = await self.encoder.queries(queries)
        depth = k * (1 + self.spare)  # k units may displace so many
        searches = [shard.search(vectors, depth) for shard in self.shards]
        if self.base is not None:
            searches.append(self.base.search(queries, vectors, depth))
        found = await asyncio.gather(*searches)
        return [self._merge([hit for lists in found for hit in lists[row]], k) for row in range(len(queries))]

    def _merge(self, hits: Sequence[Hit], k: int) -> list[Hit]:
        base = best([hit for hit in hits if hit.origin == "base"], k * (1 + self.spare))
        writeback = best([hit for hit in hits if hit.origin == "writeback"], k)
        return merge(base, writeback, k, max_writeback_share=self.settings.max_writeback_share, sources=self.sources)
