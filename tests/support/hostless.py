"""A workspace without Ray and without a model: shards in this process, vectors that count words."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy as np

from wbrag.core.config import Config, load
from wbrag.core.types import Generator
from wbrag.enrich.row_jobs import Handles
from wbrag.executor.local import LocalShard
from wbrag.executor.ray.index_build import assign, plan
from wbrag.generators import build
from wbrag.retrieval.encoder import Vectors, encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import build_once, open_shards
from wbrag.workspace import Workspace

DIMENSION = 64
NOBODY = "http://127.0.0.1:9/v1"  # where no model is asked


class Words:
    """`TextEncoder`: a text's vector [d] counts its words, hashed; unit length."""

    async def queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack([_vector(text) for text in texts])

    passages = queries


def _vector(text: str) -> Vectors:
    vector = np.full(DIMENSION, 0.01, np.float32)
    for word in re.findall(r"\w+", text.lower()):
        vector[zlib.crc32(word.encode()) % DIMENSION] += 1
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


class InProcess:
    """What `wbrag.executor.ray.session.Session` gives, in this process."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def generator(self) -> Generator:
        return build(self.config)

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def encoder(self) -> Words:
        return Words()

    def shards(self, root: Path, manifest: Manifest, origin: Any) -> list[LocalShard]:
        return [LocalShard(shard) for shard in open_shards(root, manifest, origin, gpu=False)]

    def handles(self, root: Path, indexes: Sequence[tuple[Manifest, Any]]) -> Handles:
        shards = [shard for manifest, origin in indexes for shard in self.shards(root, manifest, origin)]
        return Handles(build(self.config), self.encoder(), shards)


class Life(Workspace):
    def index(self) -> dict[str, Any]:
        # For this call alone: other tests share the process.
        with patch("wbrag.executor.ray.index_build.build_index", _build_index):
            return super().index()


def open_life(folder: str, url: str = NOBODY, **sections: Any) -> Life:
    generator = {"backend": "openai", "base_url": url, "model": "tiny", "max_retries": 0}
    sections = {"ray": {"block_rows": 1000}, "publish": {"max_writeback_shards": 2}} | sections
    config = load(generator=generator, **sections)
    return Life(folder, config, session=cast(Any, InProcess(config)))


def _build_index(
    session: InProcess, corpus: Path, digest: str, embeddings: Path, root: Path, progress: Callable[[int, int], None]
) -> Manifest:
    """What the function of that name does on Ray."""

    def blocks(rows: Sequence[Any]) -> Any:
        for row in rows:
            table = row.read()
            pairs = zip(table["title"].to_pylist(), table["text"].to_pylist())
            yield np.stack([_vector(f"{title}\n{text}") for title, text in pairs]), table

    parts = assign(plan(corpus, 8, 2), 2)
    files = [build_once(root, f"base-{digest}-{i}", "SQfp16", DIMENSION, blocks(rows)) for i, rows in enumerate(parts)]
    return Manifest(encoder_fingerprint(session.config.encoder), "words", DIMENSION, "SQfp16", tuple(files))
