"""Release cache: the retrievers of the releases used last, over shards of this process and groups elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakValueDictionary

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.types import Hit
from wbrag.retrieval.adapter import adapted
from wbrag.retrieval.encoder import BatchedEncoder, Encoder, Vectors
from wbrag.retrieval.external import open_base
from wbrag.retrieval.reranker import LocalReranker, Pair, RerankerModel, open_reranker
from wbrag.retrieval.retriever import IndexRetriever
from wbrag.serving.open_releases import KEPT, OpenReleases, unused_after
from wbrag.serving.open_shards import OpenShards, wanted_of
from wbrag.serving.shard_groups import GroupSearcher, ShardGroup, share
from wbrag.units.layout import Layout
from wbrag.units.releases import Release


class ReleaseCache:
    """`ReleaseRetriever` over a workspace; with `groups`, the shards of the base are theirs, one part each."""

    def __init__(
        self,
        layout: Layout,
        encoder: Encoder,
        cache_dir: str | Path | None = None,
        *,
        groups: Sequence[ShardGroup] = (),
        keep: int = KEPT,
    ) -> None:
        self.layout, self.groups = layout, groups
        self.shards = OpenShards(layout, encoder, cache_dir)
        self.queries = BatchedEncoder(encoder)
        s = layout.config.serving
        self.releases = OpenReleases(self._open, unused_after(s.timeout_s, s.poll_s), keep)
        self._base = open_base(layout.config, self.queries)
        self._rerankers: WeakValueDictionary[str, LocalReranker] = WeakValueDictionary()
        self._opener = ThreadPoolExecutor(1, "open")  # one at a time, and in no search's way

    async def search(
        self, queries: Sequence[str], k: int, release: Release, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        """The best `k` of the `allowed` hits of each query, best first; opens `release` where it is not."""
        return await (await self.releases.get(release)).search(queries, k, allowed)

    async def embed(self, contents: Sequence[str], queries: bool = False) -> Vectors:
        """Passages, or `queries`, to vectors [n, d]."""
        return await (self.queries.queries if queries else self.queries.passages)(contents)

    async def nearest(self, contents: Sequence[str], vectors: Vectors, k: int, release: Release) -> list[list[Hit]]:
        """The best `k` hits of passages with these `contents` and `vectors` [n, d]."""
        return await (await self.releases.get(release)).search_vectors(contents, vectors, k)

    async def prepare(self, release: Release) -> None:
        """Open `release` and test it on itself; raises `WbragError` with what is wrong."""
        await asyncio.gather(*(group.prepare(release) for group in self.groups))
        await self.releases.prepare(release)

    async def _open(self, release: Release) -> IndexRetriever:
        return await asyncio.get_running_loop().run_in_executor(self._opener, self._opened, release)

    def _opened(self, release: Release) -> IndexRetriever:
        indexes = self.layout.indexes(release)
        here = [(manifest, origin) for manifest, origin in indexes if origin == "writeback" or not self.groups]
        there = [
            GroupSearcher(group, release, share(manifest, number, len(self.groups)))
            for number, group in enumerate(self.groups)
            for manifest, origin in indexes
            if origin == "base"
        ]
        return IndexRetriever(
            adapted(self.queries, self.layout.adapter(release)),
            [*self.shards.open(wanted_of(here), release), *there],
            self.layout.config.retrieval,
            self.layout.unit_sources(),
            self._base,
            self._reranker(release),
        )

    def _reranker(self, release: Release) -> tuple[LocalReranker, RerankerModel] | None:
        """One of the releases that are open shares its own."""
        model = self.layout.reranker(release)
        if model is None:
            return None
        found = self._rerankers.get(model.fingerprint)
        if found is None:
            found = open_reranker(model)
            found.read([Pair("a question", "a passage")])  # what fails, fails before the release answers
            self._rerankers[model.fingerprint] = found
        return found, model
