"""A workspace without Ray: its rows, shards and index builds run in this process, over any encoder.

Its steps are the library's own; only what Ray would host is called directly.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np

from wbrag.core.config import Config, load
from wbrag.core.fingerprint import fingerprint
from wbrag.core.types import Generator
from wbrag.enrich.row_jobs import Handles, Searched
from wbrag.executor.local import LocalShard
from wbrag.executor.ray.corpus_blocks import assign, plan
from wbrag.executor.ray.index_build import BuiltIndex
from wbrag.generators import build
from wbrag.retrieval.encoder import Vectors, encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import build_once, open_shards
from wbrag.retrieval.index.words import in_turn
from wbrag.workspace import Workspace

ONE_BLOCK = {"block_rows": 1000}  # of `ray`: a run of one block needs no Ray Data
NOBODY = "http://127.0.0.1:9/v1"  # where no model is asked


class Embeds(Protocol):
    """Texts to unit vectors [texts, dimension]."""

    async def queries(self, texts: Sequence[str]) -> Vectors: ...
    async def passages(self, contents: Sequence[str]) -> Vectors: ...


class Words:
    """A text's vector [64] counts its words, hashed; unit length."""

    dimension = 64

    async def queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack([_counted(text, self.dimension) for text in texts])

    passages = queries


def _counted(text: str, dimension: int) -> Vectors:
    vector = np.full(dimension, 0.01, np.float32)
    for word in re.findall(r"\w+", text.lower()):
        vector[zlib.crc32(word.encode()) % dimension] += 1
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


class InProcess:
    """What `wbrag.executor.ray.session.Session` gives, in this process."""

    def __init__(self, config: Config, embeds: Embeds, dimension: int) -> None:
        self.config, self.embeds, self.dimension = config, embeds, dimension
        self.checked: set[tuple[object, ...]] = set()

    def connect(self) -> None: ...

    def free_engines(self) -> None: ...

    def gpus(self) -> float:
        return 0.0

    def close(self) -> None: ...

    def encoder(self) -> Embeds:
        return self.embeds

    def generator(self) -> Generator:
        return build(self.config)

    def shards(self, root: Path, manifest: Manifest, origin: Any) -> list[LocalShard]:
        return [LocalShard(shard) for shard in open_shards(root, manifest, origin, gpu=False)]

    def handles(self, root: Path, indexes: Sequence[tuple[Manifest, Any]], *, distils: bool = False) -> Handles:
        shards = [shard for manifest, origin in indexes for shard in self.shards(root, manifest, origin)]
        writer = None if self.config.distils_itself or not distils else build(self.config.for_distiller())
        return Handles(self.encoder(), shards, self.generator(), distiller=writer)

    def searched(self, root: Path, indexes: Sequence[tuple[Manifest, Any]]) -> Searched:
        return Searched(self.encoder(), [shard for m, origin in indexes for shard in self.shards(root, m, origin)])


class Life(Workspace):
    """A workspace whose session is an `InProcess`."""

    def index(self) -> dict[str, Any]:
        # For this call alone: other tests share the process.
        module = "wbrag.executor.ray.index_build"
        with patch(f"{module}.build_index", _build_index), patch(f"{module}.spread", lambda limit_s: in_turn):
            return super().index()


def open_life(folder: str, url: str = NOBODY, words: Words | None = None, **sections: Any) -> Life:
    generator = {"backend": "openai", "base_url": url, "model": "tiny", "max_retries": 0}
    config = load(generator=generator, **{"ray": ONE_BLOCK, "publish": {"max_writeback_shards": 2}} | sections)
    return Life(folder, config, session=InProcess(config, words or Words(), (words or Words).dimension))  # type: ignore[arg-type]


def _build_index(
    session: InProcess, corpus: Path, files: Mapping[str, str], embeddings: Path, root: Path, *more: Any
) -> BuiltIndex:
    """What the function of that name does on Ray."""
    digest = fingerprint(list(files.values()))

    def blocks(rows: Sequence[Any]) -> Any:
        for row in rows:
            table = row.read()
            pairs = zip(table["title"].to_pylist(), table["text"].to_pylist())
            yield asyncio.run(session.embeds.passages([f"{title}\n{text}" for title, text in pairs])), table

    encoder, dimension = session.config.encoder, session.dimension
    parts = assign(plan(corpus, 8, 2), 2)
    shards = tuple(
        build_once(root, f"base-{digest}-{i}", "SQfp16", dimension, blocks(rows)) for i, rows in enumerate(parts)
    )
    made = Manifest(encoder_fingerprint(encoder), encoder.model, dimension, "SQfp16", shards)
    return BuiltIndex(made, made.count, len(shards))
