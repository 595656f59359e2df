"""Open shards: those that releases answer from; a release opens only the ones that no other has open.

Shards of an object store, and any with `serving.cache_dir`, are opened by way of a local copy (`open_shard`). None is
searched before it has found samples of its own passages again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakValueDictionary

from wbrag.core.errors import WbragError
from wbrag.core.types import Origin
from wbrag.retrieval.encoder import Encoder, encoder_fingerprint
from wbrag.retrieval.index.copies import shard_name
from wbrag.retrieval.index.manifest import Manifest, ShardFiles
from wbrag.retrieval.index.shard import Shard, open_shard
from wbrag.retrieval.retriever import LocalShard
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

SAMPLED = 3  # passages of each shard that must find themselves
NEAREST = 10  # hits among which they must be
OPENED_TOGETHER = min(8, os.cpu_count() or 1)
Wanted = tuple[ShardFiles, Manifest, Origin]


class OpenShards:
    """Shards of this process, by their contents."""

    def __init__(self, layout: Layout, encoder: Encoder, cache_dir: str | Path | None = None) -> None:
        self.layout, self.encoder = layout, encoder
        self.cache = Path(cache_dir).expanduser() if cache_dir else None
        self.fingerprint = encoder_fingerprint(layout.config.encoder)
        # Held by who searches them. With its queue: releases that share a shard search it together.
        self.known: WeakValueDictionary[str, LocalShard] = WeakValueDictionary()

    def open(self, wanted: Sequence[Wanted], release: Release) -> list[LocalShard]:
        """These shards of `release`, tested; raises `WbragError` with what is wrong."""
        for _, manifest, _ in wanted:
            self._check(manifest, release)
        with ThreadPoolExecutor(OPENED_TOGETHER) as pool:
            return list(pool.map(lambda one: self._shard(*one), wanted))

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
        found = self.known.get(key)
        if found is None:
            try:
                shard = self.from_disk(files, manifest, origin)
                self_test(shard, files, manifest, self.encoder)
            except (WbragError, OSError):  # a disk that is full or away says nothing about the shard
                raise
            except Exception as error:  # FAISS and Arrow on a file that is not what its name says
                reason = " ".join(str(error).split())[:200]
                raise WbragError(f"expected to open the shard {files.folder}, found {reason}: index again") from error
            found = self.known[key] = LocalShard(shard)
        return found

    def from_disk(self, files: ShardFiles, manifest: Manifest, origin: Origin) -> Shard:
        gpu = self.layout.config.index.gpus_per_shard > 0
        return open_shard(self.layout.path / "index", files, manifest, origin, gpu=gpu, cache=self.cache)


def wanted_of(indexes: Sequence[tuple[Manifest, Origin]]) -> list[Wanted]:
    """Every shard of these indexes."""
    return [(files, manifest, origin) for manifest, origin in indexes for files in manifest.shards]


def self_test(shard: Shard, files: ShardFiles, manifest: Manifest, encoder: Encoder) -> None:
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
