"""The bytes that are foretold are the bytes that a build writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest

from wbrag.retrieval.index.shard import PASSAGES, Block, build_shard
from wbrag.retrieval.index.sizes import Texts, build_bytes, index_bytes, training_bytes

faiss.omp_set_num_threads(1)
LISTS = "IVF16,SQfp16"
ROWS, DIMENSION, BLOCK = 6000, 32, 1000
TEXT = "What stands in this passage."


def blocks(count: int) -> Iterator[Block]:
    vectors = np.random.default_rng(0).standard_normal((count, DIMENSION)).astype(np.float16)
    for at in range(0, count, BLOCK):
        part = vectors[at : at + BLOCK]
        ids = [f"p{n:06}" for n in range(at, at + len(part))]
        yield part, pa.table([ids, ["A title"] * len(part), [TEXT] * len(part)], schema=PASSAGES)


@pytest.mark.parametrize(
    ("factory", "learnt"),  # bytes of what is trained beside the centroids
    [("SQfp16", 0), ("Flat", 0), ("IVF16,SQfp16", 0), ("IVF16,Flat", 0), ("IVF16,PQ8x4", 0), ("SQ8", 256)],
)
@pytest.mark.parametrize("shards", [1, 2])
def test_exact(factory: str, learnt: int, shards: int, tmp_path: Path) -> None:
    found = index_bytes(ROWS + 1, DIMENSION, factory, Texts(7, 7, len(TEXT)), shards, BLOCK)
    for n in range(shards):
        size = (ROWS + 1) * (n + 1) // shards - (ROWS + 1) * n // shards
        build_shard(tmp_path, f"s{n}", factory, DIMENSION, blocks(size))

    def written(name: str) -> int:
        return sum(file.stat().st_size for file in tmp_path.glob(f"*/{name}"))

    assert found.vectors == written("vectors.f16")
    assert found.texts == pytest.approx(written("passages.arrow"), abs=8 * shards), "Arrow pads its footer"
    assert found.faiss == written("vectors.faiss") - learnt * shards
    assert found.all == found.faiss + found.vectors + found.texts


def test_a_build_takes_its_index_and_what_it_learns_from() -> None:
    """Without lists nothing is learnt; with them the sample, as 32-bit numbers, is no more than the shard."""
    index = {factory: index_bytes(10**6, 64, factory, Texts(1, 1, 1), 1, BLOCK).faiss for factory in ("SQfp16", LISTS)}
    piece = build_bytes(10**6, 64, "SQfp16") - index["SQfp16"]
    assert 0 < piece < 100 << 20
    assert build_bytes(10**6, 64, LISTS) == index[LISTS] + piece, "it is filled from lists that have learnt"
    assert training_bytes(10**6, 64, "SQfp16") == 0
    assert training_bytes(10**6, 64, LISTS) == training_bytes(10**9, 64, LISTS) == 64 * 1024 * 64 * 8
    assert training_bytes(100, 64, LISTS) == 100 * 64 * 8
