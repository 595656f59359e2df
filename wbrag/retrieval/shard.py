"""One FAISS shard: built from a stream of vectors, searched exactly, its texts memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wbrag.errors import UsageError, WbragError
from wbrag.files import folder_in_one_step, sha256_of, write_atomically
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.manifest import Manifest, ShardFiles, verify
from wbrag.types import Hit, Origin

TRAINING_VECTORS = 100_000  # enough for 1,024 centroids; bounds a compressed shard's memory while it trains
PROBED_LISTS = 64  # of an IVF index, per query
RESCORED = 8  # a compressed shard fetches this many times k and scores them again with fp16 vectors
PASSAGES = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())])
Block = tuple[npt.NDArray[Any], pa.Table]  # vectors [n, d] float16 or float32, and their passages


def build_shard(root: Path, name: str, factory: str, dimension: int, blocks: Iterable[Block]) -> ShardFiles:
    """Write `root/name` from `blocks`; memory is bounded by the shard's index and one block."""
    import faiss

    index = _new_index(factory, dimension)
    count = 0
    with folder_in_one_step(root / name) as scratch:
        with (
            nullcontext() if _exact(factory) else (scratch / "vectors.f16").open("wb") as keep,
            pa.OSFile(str(scratch / "passages.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, PASSAGES) as texts,
        ):
            for vectors, passages in _trained(index, blocks):
                index.add(np.ascontiguousarray(vectors, dtype=np.float32))
                texts.write_table(passages.select(PASSAGES.names).cast(PASSAGES).combine_chunks())
                if keep:
                    keep.write(np.ascontiguousarray(vectors, dtype=np.float16).tobytes())
                count += len(vectors)
        faiss.write_index(index, str(scratch / "vectors.faiss"))
        digests = {file.name: sha256_of(file) for file in sorted(scratch.iterdir())}
    return ShardFiles(name, count, digests)


def build_once(root: Path, name: str, factory: str, dimension: int, blocks: Iterable[Block]) -> ShardFiles:
    """`build_shard`, unless `root/name` stands there: a finished shard is known by the record beside it.

    `name` says what the shard is made of; `blocks` is not touched where nothing is to be built.
    """
    record = root / f"{name}.json"
    if record.is_file() and (root / name).is_dir():
        return ShardFiles(**json.loads(record.read_text(encoding="utf-8")))
    files = build_shard(root, name, factory, dimension, blocks)
    write_atomically(record, json.dumps(asdict(files)) + "\n")
    return files


def _new_index(factory: str, dimension: int) -> Any:
    import faiss

    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
        if "IVF" in factory:
            faiss.extract_index_ivf(
                index
            ).nprobe = PROBED_LISTS  # FAISS's own default is 1; it is stored with the index
        return index
    except RuntimeError:
        raise UsageError(
            f"expected a FAISS factory string in index.factory, found {factory!r}: try SQfp16, Flat or IVF1024,SQfp16"
        ) from None


def _exact(factory: str) -> bool:
    return factory in ("SQfp16", "Flat")


def _trained(index: Any, blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks, after an index that needs it has been trained on the first of them."""
    if index.is_trained:
        yield from blocks
        return
    first: list[Block] = []
    stream = iter(blocks)
    for block in stream:
        first.append(block)
        if sum(len(vectors) for vectors, _ in first) >= TRAINING_VECTORS:
            break
    sample = [np.empty((0, index.d), np.float32), *(np.asarray(vectors, dtype=np.float32) for vectors, _ in first)]
    try:
        index.train(np.concatenate(sample))
    except RuntimeError:
        raise WbragError(
            f"expected more passages in a shard than its index.factory has centroids, found {sum(map(len, sample))}: "
            "choose fewer centroids, fewer index.shards or SQfp16"
        ) from None
    yield from first
    yield from stream


class Shard:
    """A verified shard in memory (on the GPU where FAISS has one), its texts mapped from disk."""

    def __init__(self, root: Path, files: ShardFiles, manifest: Manifest, origin: Origin, *, gpu: bool = True) -> None:
        import faiss

        folder = verify(root, files)
        self.origin, self.count = origin, files.count
        self.index = faiss.read_index(str(folder / "vectors.faiss"))
        if gpu and getattr(faiss, "get_num_gpus", lambda: 0)() > 0:
            self.index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, self.index)  # Ray shows it one
        self.exact = _exact(manifest.factory)
        self.vectors = (
            None
            if self.exact
            else np.memmap(folder / "vectors.f16", np.float16, "r", shape=(files.count, manifest.dimension))
        )
        self.passages = pa.ipc.open_file(pa.memory_map(str(folder / "passages.arrow"))).read_all()

    def search(self, queries: Vectors, k: int) -> list[list[Hit]]:
        """The best `k` of this shard for each row of `queries` [n, d]; ties by id."""
        wanted = min(self.count, k + 1 if self.exact else max(k * RESCORED, 64))
        if wanted == 0:
            return [[] for _ in range(len(queries))]
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        scores, rows = self.index.search(queries, wanted)
        while self.exact and wanted < self.count and (scores[:, k - 1] == scores[:, -1]).any():
            wanted = min(self.count, wanted * 2)  # a tie at the cut is settled by id, so all of it must be seen
            scores, rows = self.index.search(queries, wanted)
        if self.vectors is not None:
            scores = np.einsum("nd,nkd->nk", queries, self.vectors[np.maximum(rows, 0)].astype(np.float32))
        return [self._hits(s[r >= 0], r[r >= 0], k) for s, r in zip(scores, rows)]

    def _hits(self, scores: Vectors, rows: npt.NDArray[np.int64], k: int) -> list[Hit]:
        found = self.passages.take(pa.array(rows)).to_pylist()
        hits = [Hit(p["id"], p["title"], p["text"], float(s), self.origin) for p, s in zip(found, scores)]
        return sorted(hits, key=lambda h: (-h.score, h.id))[:k]


def open_shards(root: Path, manifest: Manifest, origin: Origin, *, gpu: bool = True) -> Sequence[Shard]:
    """Every shard of an index, checksums first."""
    return [Shard(root, files, manifest, origin, gpu=gpu) for files in manifest.shards]
