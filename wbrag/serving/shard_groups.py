"""Shard groups: the base index in parts, each held by replicas of its own, where one machine cannot hold all of it.

Group g of G has every G-th shard of a release's base, from g on. Whoever asks names the release and the shards that it
expects hits of: all of them answered, or nothing did, so that an answer never has fewer hits because a part was away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.errors import WbragError
from wbrag.core.types import Hit, Origin
from wbrag.retrieval.encoder import Encoder, Vectors
from wbrag.retrieval.hybrid import Words
from wbrag.retrieval.index.manifest import Manifest, ShardFiles
from wbrag.retrieval.retriever import LocalShard
from wbrag.serving.open_releases import KEPT, OpenReleases, unused_after
from wbrag.serving.open_shards import OpenShards
from wbrag.units.layout import Layout
from wbrag.units.releases import Release


class Found(NamedTuple):
    """What a group found: the folders of the shards that it searched, and all their hits of each query."""

    shards: list[str]
    hits: list[list[Hit]]


class ShardGroup(Protocol):
    """A part of the base of any release, in this process or elsewhere."""

    async def prepare(self, release: Release) -> None:
        """Open the part and test it on itself; raises `WbragError` with what is wrong."""
        ...

    async def search(
        self, release: Release, vectors: Vectors, k: int, words: Words | None, allowed: Allowed = EVERYTHING
    ) -> Found:
        """The best `k` of each of its shards for each of `vectors` [n, d]; with `words`, as `hybrid.search` finds."""
        ...


def share(manifest: Manifest, number: int, groups: int) -> tuple[ShardFiles, ...]:
    """The shards of group `number` of `groups`."""
    return manifest.shards[number::groups]


class LocalGroup:
    """`ShardGroup` over the shards of this process."""

    def __init__(
        self, layout: Layout, encoder: Encoder, number: int, groups: int, cache_dir: str | Path | None = None
    ) -> None:
        self.layout, self.number, self.groups = layout, number, groups
        self.shards = OpenShards(layout, encoder, cache_dir)
        s = layout.config.serving
        self.releases = OpenReleases(self._open, unused_after(s.timeout_s, s.poll_s), KEPT)
        self._opener = ThreadPoolExecutor(1, "open")

    async def prepare(self, release: Release) -> None:
        await self.releases.prepare(release)

    async def search(
        self, release: Release, vectors: Vectors, k: int, words: Words | None, allowed: Allowed = EVERYTHING
    ) -> Found:
        folders, shards = await self.releases.get(release)
        lists = await asyncio.gather(*(shard.search(vectors, k, words, allowed) for shard in shards))
        return Found(folders, [[hit for mine in lists for hit in mine[row]] for row in range(len(vectors))])

    async def check(self) -> None:
        """Search what is open for one vector; raises what a search raises."""
        for shard in list(self.shards.known.values()):
            await shard.search(np.zeros((1, self.shards.encoder.dimension), np.float32), 1)

    async def _open(self, release: Release) -> tuple[list[str], list[LocalShard]]:
        return await asyncio.get_running_loop().run_in_executor(self._opener, self._opened, release)

    def _opened(self, release: Release) -> tuple[list[str], list[LocalShard]]:
        wanted = [
            (files, manifest, origin)
            for manifest, origin in self.layout.indexes(release)
            if origin == "base"
            for files in share(manifest, self.number, self.groups)
        ]
        return [files.folder for files, _, _ in wanted], self.shards.open(wanted, release)


class GroupSearcher:
    """`ShardSearcher` over the part of `release` that a group has."""

    origin: Origin = "base"

    def __init__(self, group: ShardGroup, release: Release, shards: Sequence[ShardFiles]) -> None:
        self.group, self.release = group, release
        self.expected = [files.folder for files in shards]

    async def search(
        self, queries: Vectors, k: int, words: Words | None = None, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        if not self.expected:
            return [[] for _ in queries]
        found = await self.group.search(self.release, queries, k, words, allowed)
        if sorted(found.shards) != sorted(self.expected):
            raise WbragError(
                f"expected hits of the shards {', '.join(self.expected)}, found those of "
                f"{', '.join(found.shards) or 'none'}: ask again, and start the endpoint anew where that goes on"
            )
        return found.hits
