"""Index retriever: encodes the queries once, searches every shard, merges exactly.

The same class serves local and remote shards, and an external base beside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.errors import CannotFilter
from wbrag.core.sections import RetrievalConfig
from wbrag.core.types import Hit, Origin
from wbrag.retrieval import hybrid
from wbrag.retrieval.batching import Batcher
from wbrag.retrieval.encoder import QueryEncoder, Vectors
from wbrag.retrieval.hybrid import Words
from wbrag.retrieval.index.shard import Shard
from wbrag.retrieval.merge import best, merge
from wbrag.retrieval.reranker import Reranker, RerankerModel, reranked

MOST = 1024  # queries that a shard is searched for at once


class ShardSearcher(Protocol):
    """A shard in this process or the handle of one elsewhere."""

    origin: Origin

    async def search(
        self, queries: Vectors, k: int, words: Words | None = None, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        """The best `k` of what is `allowed` for each row of `queries` [n, d]; with `words`, as `hybrid.search` does."""
        ...


class Base(Protocol):
    """Base passages that are kept elsewhere; given the queries and their vectors [n, d], whichever it searches by."""

    async def search(self, queries: Sequence[str], vectors: Vectors, k: int) -> list[list[Hit]]:
        """The best `k` passages of each query; scores compare with those of wbrag's own shards.

        One that is `Narrowed` is told as well what is `allowed`, where that is not everything.
        """
        ...


@runtime_checkable
class Narrowed(Protocol):
    """A base that knows access lists and metadata of its passages."""

    async def search(
        self, queries: Sequence[str], vectors: Vectors, k: int, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]: ...

    @property
    def narrows(self) -> bool:
        """Whether it does as it is set up."""
        ...


class LocalShard:
    """A shard of this process; FAISS and torch release the interpreter lock, so it searches in a thread.

    Searches that come while one is running are the next one, together: a flat shard is read once for all of them.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard, self.origin = shard, shard.origin
        self._batches = Batcher(partial(_search, shard), most=MOST)  # not a method: one let go of is closed at once

    async def search(
        self, queries: Vectors, k: int, words: Words | None = None, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        texts: Sequence[str] = words.texts if words else [""] * len(queries)
        how = _How(k, words.weight if words else 0.0, allowed)
        return await self._batches([_Asked(query, text, how) for query, text in zip(queries, texts, strict=True)])


class _How(NamedTuple):
    k: int
    weight: float  # of words; 0: vectors alone
    allowed: Allowed


class _Asked(NamedTuple):
    vector: Vectors
    text: str
    how: _How


def _search(shard: Shard, asked: Sequence[_Asked]) -> list[list[Hit]]:
    """The hits of each query for its k."""
    found: list[list[Hit]] = [[] for _ in asked]
    for how in {one.how for one in asked}:  # a compressed shard finds the best 5 otherwise than 50
        rows = [row for row, one in enumerate(asked) if one.how == how]
        vectors = np.stack([asked[row].vector for row in rows])
        if how.weight:
            words = Words([asked[row].text for row in rows], how.weight)
            lists = hybrid.search(shard, vectors, words, how.k, how.allowed)
        else:
            lists = shard.search(vectors, how.k, how.allowed)
        for row, hits in zip(rows, lists, strict=True):
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
        reranker: tuple[Reranker, RerankerModel] | None = None,
    ) -> None:
        self.encoder, self.shards, self.settings, self.base = encoder, shards, settings, base
        self.reranker = reranker
        self.sources = sources if settings.displace_sources else None
        self.max_displaced = max(map(len, self.sources.values()), default=0) if self.sources else 0

    async def search(self, queries: Sequence[str], k: int, allowed: Allowed = EVERYTHING) -> list[list[Hit]]:
        """The best `k` hits of each query over what is `allowed` of both indexes, best first; ties by id."""
        if not queries:
            return []
        vectors = await self.encoder.queries(queries)
        if self.reranker is None:
            return [self._merge(hits, k) for hits in await self._found(queries, vectors, k, allowed)]
        reads, model = self.reranker
        wanted = max(k, model.settings.candidates)
        found = [best(hits, wanted) for hits in await self._found(queries, vectors, wanted, allowed)]
        return [self._merge(hits, k) for hits in await reranked(reads, model, queries, found)]

    async def search_vectors(self, queries: Sequence[str], vectors: Vectors, k: int) -> list[list[Hit]]:
        """The nearest to these `vectors` [n, d] of `queries`, by nothing else."""
        return [self._merge(hits, k) for hits in await self._near(queries, vectors, k, EVERYTHING)]

    async def _found(self, queries: Sequence[str], vectors: Vectors, k: int, allowed: Allowed) -> list[list[Hit]]:
        """All that shards give each query, by vectors, and by words where the settings say so."""
        weight = self.settings.hybrid
        if not weight:
            return await self._near(queries, vectors, k, allowed)
        words = Words(list(queries), weight)
        found = await asyncio.gather(*(shard.search(vectors, self._depth(k), words, allowed) for shard in self.shards))
        return [hybrid.found_by(hits, k) for hits in _by_query(found, len(queries))]

    async def _near(self, queries: Sequence[str], vectors: Vectors, k: int, allowed: Allowed) -> list[list[Hit]]:
        searches = [shard.search(vectors, self._depth(k), None, allowed) for shard in self.shards]
        if self.base is not None:
            searches.append(_in_base(self.base, queries, vectors, self._depth(k), allowed))
        return _by_query(await asyncio.gather(*searches), len(queries))

    def _depth(self, k: int) -> int:
        return k * (1 + self.max_displaced)  # each of k units may displace so many

    def _merge(self, hits: Sequence[Hit], k: int) -> list[Hit]:
        base = best([hit for hit in hits if hit.origin == "base"], self._depth(k))
        writeback = best([hit for hit in hits if hit.origin == "writeback"], k)
        return merge(base, writeback, k, max_writeback_share=self.settings.max_writeback_share, sources=self.sources)


class NarrowRetriever:
    """`Retriever`: what is `allowed` of another."""

    def __init__(self, retriever: IndexRetriever, allowed: Allowed) -> None:
        self.retriever, self.allowed = retriever, allowed

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return await self.retriever.search(queries, k, self.allowed)


def _in_base(
    base: Base, queries: Sequence[str], vectors: Vectors, k: int, allowed: Allowed
) -> Coroutine[Any, Any, list[list[Hit]]]:
    """What a base that is kept elsewhere finds; one that knows no access lists has none, so everybody may see it."""
    if allowed.everything:
        return base.search(queries, vectors, k)
    if isinstance(base, Narrowed) and base.narrows:
        return base.search(queries, vectors, k, allowed)
    if allowed.filter:
        raise CannotFilter("the store of the passages keeps no metadata that wbrag can search by: leave the filter out")
    return base.search(queries, vectors, k)


def _by_query(found: Sequence[list[list[Hit]]], queries: int) -> list[list[Hit]]:
    """What all shards found, query by query."""
    return [[hit for lists in found for hit in lists[row]] for row in range(queries)]
