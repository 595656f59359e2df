"""Release cache: the retrievers of the releases used last; one opens only the shards that no other has open.

Shards of an object store, and any with `serving.cache_dir`, are opened by way of a local copy (`open_shard`). No
release is searched before each of its shards has found samples of its own passages again.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakValueDictionary

from wbrag.core.errors import WbragError
from wbrag.core.types import Hit, Origin
from wbrag.retrieval.adapter import adapted
from wbrag.retrieval.encoder import BatchedEncoder, Encoder, Vectors, encoder_fingerprint
from wbrag.retrieval.external import open_base
from wbrag.retrieval.index.copies import shard_name
from wbrag.retrieval.index.manifest import Manifest, ShardFiles
from wbrag.retrieval.index.shard import Shard, open_shard
from wbrag.retrieval.reranker import LocalReranker, Pair, RerankerModel, open_reranker
from wbrag.retrieval.retriever import IndexRetriever, LocalShard
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

KEPT = 3  # releases held open: the present one, the one before it, and one that somebody asks for
SAMPLED = 3  # passages of each shard that must find themselves
NEAREST = 10  # hits among which they must be
OPENED_TOGETHER = min(8, os.cpu_count() or 1)


class ReleaseCache:
    """`ReleaseRetriever` over a workspace; the `KEPT` releases used last stay open, and with them their shards."""

    def __init__(
        self, layout: Layout, encoder: Encoder, cache_dir: str | Path | None = None, *, keep: int = KEPT
    ) -> None:
        self.layout, self.encoder, self.keep = layout, encoder, keep
        self.cache = Path(cache_dir).expanduser() if cache_dir else None
        self.fingerprint = encoder_fingerprint(layout.config.encoder)
        self.queries = BatchedEncoder(encoder)
        self._base = open_base(layout.config, self.queries)
        self._releases: OrderedDict[str, asyncio.Task[IndexRetriever]] = OrderedDict()
        self._used: dict[str, tuple[str, float]] = {}  # base of each, and when it was last asked for
        # Held by the retrievers. With its queue: releases that share a shard search it together.
        self._shards: WeakValueDictionary[str, LocalShard] = WeakValueDictionary()
        self._rerankers: WeakValueDictionary[str, LocalReranker] = WeakValueDictionary()
        self._opener = ThreadPoolExecutor(1, "open")  # one at a time, and in no search's way

    async def search(self, queries: Sequence[str], k: int, release: Release) -> list[list[Hit]]:
        """The best `k` hits of each query, best first; opens `release` where it is not."""
        return await (await self._retriever(release)).search(queries, k)

    async def embed(self, contents: Sequence[str]) -> Vectors:
        """Passages to vectors [n, d]."""
        return await self.queries.passages(contents)

    async def nearest(self, contents: Sequence[str], vectors: Vectors, k: int, release: Release) -> list[list[Hit]]:
        """The best `k` hits of passages with these `contents` and `vectors` [n, d]."""
        return await (await self._retriever(release)).search_vectors(contents, vectors, k)

    async def prepare(self, release: Release) -> None:
        """Open `release` and test it on itself; raises `WbragError` with what is wrong.

        Releases of another base are let go of once what was begun on them is over: two bases may be all that a machine
        holds. One that is asked for again is opened again.
        """
        await self._retriever(release)
        if any(base != release.base_sha256 for base, _ in self._used.values()):
            s = self.layout.config.serving
            after = s.timeout_s + 2 * s.poll_s  # gateways learn of a release within one, and a request has its time
            asyncio.get_running_loop().call_later(after, self._let_go, release.base_sha256, after)

    def _let_go(self, base: str, unused_s: float) -> None:
        now = asyncio.get_running_loop().time()
        for key, (other, used) in list(self._used.items()):
            left = unused_s - (now - used)
            if other != base and left <= 0:
                self._releases.pop(key, None)
                del self._used[key]
            elif other != base:  # used meanwhile, by a gateway that knew no better, or a request under way
                asyncio.get_running_loop().call_later(left + 0.001, self._let_go, base, unused_s)

    async def _retriever(self, release: Release) -> IndexRetriever:
        key = " ".join(release.files)  # a rollback opens nothing
        task = self._releases.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(self._opened(release))
            self._releases[key] = task
        self._releases.move_to_end(key)
        self._used[key] = release.base_sha256, asyncio.get_running_loop().time()
        while len(self._releases) > self.keep:
            self._used.pop(self._releases.popitem(last=False)[0], None)
        return await asyncio.shield(task)  # others may wait for it too

    async def _opened(self, release: Release) -> IndexRetriever:
        return await asyncio.get_running_loop().run_in_executor(self._opener, self._open, release)

    def _open(self, release: Release) -> IndexRetriever:
        with ThreadPoolExecutor(OPENED_TOGETHER) as pool:
            indexes = self.layout.indexes(release)
            for manifest, _ in indexes:
                self._check(manifest, release)
            wanted = [(files, manifest, origin) for manifest, origin in indexes for files in manifest.shards]
            shards = list(pool.map(lambda one: self._shard(*one), wanted))
            return IndexRetriever(
                adapted(self.queries, self.layout.adapter(release)),
                shards,
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

    def _check(self, manifest: Manifest, release: Release) -> None:
        model, dimension = self.layout.config.encoder.model, self.encoder.dimension
        if manifest.encoder != self.fingerprint or manifest.dimension != dimension:
            raise WbragError(
                f"expected release {release.id} made with the encoder {model!r} ({dimension} dimensions) as it is set, "
                f"found {manifest.encoder_model!r} ({manifest.dimension}) or other settings of it: publish again"
            )

    def _shard(self, files: ShardFiles, manifest: Manifest, origin: Origin) -> LocalShard:
        words = manifest.only(manifest.shards.index(files)).keywords
        made_of = (words.statistics.folder, words.shards[0].folder) if words else ()
        key = " ".join([origin, shard_name(files), *made_of])
        found = self._shards.get(key)
        if found is None:
            try:
                shard = self._from_disk(files, manifest, origin)
                _self_test(shard, files, manifest, self.encoder)
            except (WbragError, OSError):  # a disk that is full or away says nothing about the shard
                raise
            except Exception as error:  # FAISS and Arrow on a file that is not what its name says
                reason = " ".join(str(error).split())[:200]
                raise WbragError(f"expected to open the shard {files.folder}, found {reason}: index again") from error
            found = self._shards[key] = LocalShard(shard)
        return found

    def _from_disk(self, files: ShardFiles, manifest: Manifest, origin: Origin) -> Shard:
        gpu = self.layout.config.index.gpus_per_shard > 0
        return open_shard(self.layout.path / "index", files, manifest, origin, gpu=gpu, cache=self.cache)


def _self_test(shard: Shard, files: ShardFiles, manifest: Manifest, encoder: Encoder) -> None:
    """Raises `WbragError` unless the shard holds what its manifest says and finds samples of it by their texts."""
    found = {"vectors": shard.index.ntotal, "passages": shard.passages.num_rows}
    if set(found.values()) != {files.count} or shard.index.d != manifest.dimension:
        raise WbragError(
            f"expected {files.count} vectors and passages of {manifest.dimension} dimensions in the shard "
            f"{files.folder}, found {found['vectors']} and {found['passages']} of {shard.index.d}: index again"
        )
    if not files.count:
        return
    rows = sorted({i * (files.count - 1) // max(1, SAMPLED - 1) for i in range(SAMPLED)})
    sample = [shard.hit(row, 0.0) for row in rows]
    vectors = encoder.encode_passages([f"{passage.title}\n{passage.text}" for passage in sample])
    for passage, hits in zip(sample, shard.search(vectors, NEAREST)):
        if not all(math.isfinite(hit.score) for hit in hits):
            raise WbragError(f"expected finite scores from the shard {files.folder}, found others: index again")
        if (passage.title, passage.text) not in {(hit.title, hit.text) for hit in hits}:
            raise WbragError(
                f"expected passage {passage.id!r} of the shard {files.folder} among its own {NEAREST} nearest, "
                "found others: the vectors are not of these texts or of this encoder; index again"
            )
