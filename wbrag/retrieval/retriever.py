"""Index retriever: encodes the queries once, searches every shard, merges exactly.

The same class serves local and remote shards, and an external base beside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from wbrag.core.sections import RetrievalConfig
from wbrag.core.types import Hit, Origin
from wbrag.retrieval.batching import Batcher
from wbrag.retrieval.encoder import QueryEncoder, Vectors
from wbrag.retrieval.index.shard import Shard
from wbrag.retrieval.merge import best, merge


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
    """A shard of this process; FAISS and torch release the interpreter lock, so it searches in a thread.

    Searches that come while one is running are the next one, together: a flat shard is read once for all of them.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard, self.origin = shard, shard.origin
        self._batches = Batcher(partial(_search, shard))  # not a method: a shard let go of is closed at once

    async def search(self, queries: Vectors, k: int) -> list[list[Hit]]:
        return await self._batches([(query, k) for query in queries])


def _search(shard: Shard, asked: Sequence[tuple[Vectors, int]]) -> list[list[Hit]]:
    """The hits of each query for its k."""
    found: list[list[Hit]] = [[] for _ in asked]
    for k in {k for _, k in asked}:  # a compressed shard finds the best 5 otherwise when asked for 50
        rows = [row for row, (_, wanted) in enumerate(asked) if wanted == k]
        for row, hits in zip(rows, shard.search(np.stack([asked[row][0] for row in rows]), k)):
            found[row] = hits
    return found


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
        self.max_displaced = max(map(len, self.sources.values()), default=0) if self.sources else 0

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` hits of each query over both indexes, best first; ties by id."""
        if not queries:
            return []
        return await self.search_vectors(queries, await self.encoder.queries(queries), k)

    async def search_vectors(self, queries: Sequence[str], vectors: Vectors, k: int) -> list[list[Hit]]:
        """The same for `queries` with these `vectors` [n, d]."""
        depth = k * (1 + self.max_displaced)  # each of k units may displace so many
        searches = [shard.search(vectors, depth) for shard in self.shards]
        if self.base is not None:
            searches.append(self.base.search(queries, vectors, depth))
        found = await asyncio.gather(*searches)
        return [self._merge([hit for lists in found for hit in lists[row]], k) for row in range(len(queries))]

    def _merge(self, hits: Sequence[Hit], k: int) -> list[Hit]:
        base = best([hit for hit in hits if hit.origin == "base"], k * (1 + self.max_displaced))
        writeback = best([hit for hit in hits if hit.origin == "writeback"], k)
        return merge(base, writeback, k, max_writeback_share=self.settings.max_writeback_share, sources=self.sources)
