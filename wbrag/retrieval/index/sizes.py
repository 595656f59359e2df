"""Index size estimate: bytes in memory and on disk, without building the index.

Exact where FAISS and Arrow say how large their own files become: SQfp16, Flat, and IVF with either or PQ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from wbrag.core.io.files import Location
from wbrag.retrieval.index.build import PIECE as BLOCK
from wbrag.retrieval.index.build import new_index, trained_on
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import PASSAGES, exact

FOOTER_BLOCK = 24  # bytes that Arrow's file footer keeps of every batch


@dataclass(frozen=True)
class Texts:
    """Mean UTF-8 bytes of a passage's id, title and text."""

    id: float
    title: float
    text: float


@dataclass(frozen=True)
class IndexBytes:
    """`faiss` is held in memory; `vectors` (float16, of a compressed index) and `texts` are mapped from disk."""

    faiss: int
    vectors: int
    texts: int

    @property
    def all(self) -> int:
        return self.faiss + self.vectors + self.texts


def index_bytes(passages: int, dimension: int, factory: str, texts: Texts, shards: int, block_rows: int) -> IndexBytes:
    """All files of an index of `passages`; exact for SQfp16, Flat, and IVF with either or PQ."""
    sizes = [passages * (n + 1) // shards - passages * n // shards for n in range(shards)]
    stored = 0 if exact(factory) else passages * dimension * 2
    return IndexBytes(
        sum(_faiss(size, dimension, factory) for size in sizes),
        stored,
        sum(_arrow(size, texts, block_rows) for size in sizes),
    )


def _faiss(count: int, dimension: int, factory: str) -> int:
    """The empty index as FAISS writes it, and what every centroid, list and vector adds."""
    import faiss

    index: Any = new_index(factory, dimension)
    empty = len(faiss.serialize_index(index))
    lists = faiss.try_extract_index_ivf(index)
    if lists is None:
        return empty + count * index.sa_code_size()
    centroids = 0 if lists.quantizer.ntotal else lists.nlist * dimension * 4
    return empty + centroids + lists.nlist * 8 + count * (lists.code_size + 8)


def stored_bytes(root: Location, manifest: Manifest) -> int:
    """What an index takes of a machine's memory when all of it is searched: its vectors, as they lie in `root`."""
    return sum((root / files.folder / "vectors.faiss").stat().st_size for files in manifest.shards)


def build_bytes(count: int, dimension: int, factory: str) -> int:
    """The most memory that building a shard of `count` vectors takes: its index, and a piece of them as float32."""
    return _faiss(count, dimension, factory) + BLOCK * dimension * 4


def training_bytes(count: int, dimension: int, factory: str) -> int:
    """The most that learning from `count` vectors takes: the sample as float32, and FAISS's own work on it."""
    return min(count, trained_on(factory, dimension)) * dimension * 8


def _arrow(count: int, texts: Texts, block_rows: int) -> int:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, PASSAGES):
        pass
    blocks, rest = divmod(count, block_rows)
    written = blocks * _batch(block_rows, texts) + (_batch(rest, texts) if rest else 0)
    return len(sink.getvalue()) + written + (blocks + bool(rest)) * FOOTER_BLOCK


def _batch(rows: int, texts: Texts) -> int:
    """One batch of so many passages of the mean size."""
    columns = [_column(rows, round(rows * size)) for size in (texts.id, texts.title, texts.text)]
    return int(pa.ipc.get_record_batch_size(pa.record_batch(columns, PASSAGES)))


def _column(rows: int, size: int) -> pa.Array:
    """Strings of `size` bytes together."""
    each, longer = divmod(size, rows)
    return pa.array(["x" * (each + 1)] * longer + ["x" * each] * (rows - longer), pa.string())
