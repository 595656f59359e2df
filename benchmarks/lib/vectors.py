"""A large corpus for the index benchmarks: vectors as sentence encoders spread them, in the files that a build reads.

No model made them: embedding 10 million passages would take days here. Clusters of clusters, unequal in size, with a
spectrum that falls, so that an inverted list finds something and recall means something.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.executor.ray.corpus_blocks import CorpusBlock
from wbrag.retrieval.index.shard import PASSAGES, Block
from wbrag.retrieval.index.vector_store import Places

Array = npt.NDArray[Any]
DIMENSION, SEED = 384, 11
PART = 50_000  # rows of a corpus file, as `wbrag ingest` cuts them
BLOCK = 4096  # rows of a block of vectors, the default
TOPICS, CLUSTERS = 400, 20_000
CLUSTER_SPREAD, VECTOR_SPREAD = 0.9, 0.8


def corpus(folder: Path, count: int) -> Path:
    """The first `count` passages (whole parts), as a corpus folder beside `vectors/`; makes what is not there."""
    every, vectors, mine = folder / "all", folder / "vectors", folder / f"corpus-{count}"
    for made in (every, vectors, mine):
        made.mkdir(parents=True, exist_ok=True)
    numbers = range(count // PART)
    missing = [n for n in numbers if not (every / f"part-{n:05d}.parquet").exists()]
    if missing:
        work = partial(_part, every, vectors)
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            list(pool.map(work, missing))
    for n in numbers:
        link = mine / f"part-{n:05d}.parquet"
        if not link.exists():
            link.symlink_to(every / link.name)
    return mine


def shard_blocks(count: int) -> Iterator[Block]:
    """The first `count` passages (whole parts), as `build_once` takes them: float16 vectors [PART, d] and texts."""
    for start in range(0, count, PART):
        ids = [f"p{n:08d}" for n in range(start, start + PART)]
        texts = pa.table([ids, ids, [f"What stands in {id}." for id in ids]], schema=PASSAGES)
        yield draw(PART, start // PART + 1).astype(np.float16), texts


def draw(count: int, stream: int) -> Array:
    """`count` unit vectors [count, d], float32; other ones from every `stream`."""
    centres, scales = _centres()
    rng = np.random.default_rng([SEED, stream])
    chosen = (CLUSTERS * rng.random(count) ** 1.5).astype(np.int64)  # some clusters have many times what others have
    found = rng.standard_normal((count, DIMENSION), dtype=np.float32)
    found *= VECTOR_SPREAD * scales
    found += centres[chosen]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def _centres() -> tuple[Array, Array]:
    rng = np.random.default_rng(SEED)
    scales = rng.permutation((1 + np.arange(DIMENSION) / 16) ** -0.5).astype(np.float32)
    scales /= np.linalg.norm(scales)
    topics = rng.standard_normal((TOPICS, DIMENSION), dtype=np.float32) * scales
    spread = rng.standard_normal((CLUSTERS, DIMENSION), dtype=np.float32) * scales
    return topics[np.arange(CLUSTERS) % TOPICS] + CLUSTER_SPREAD * spread, scales


def name_of(block: CorpusBlock) -> str:
    """Of the file of its vectors."""
    return f"{Path(block.file).stem}-{block.start:09d}-{block.stop:09d}"


def places_of(blocks: Sequence[CorpusBlock]) -> Places:
    """Where the vectors of these blocks lie in a store of such files."""
    pack = np.repeat(np.arange(len(blocks), dtype=np.int32), [block.rows for block in blocks])
    rows = np.concatenate([np.arange(block.rows, dtype=np.int32) for block in blocks])
    return Places([name_of(block) for block in blocks], pack, rows)


def _part(every: Path, vectors: Path, number: int) -> None:
    """One corpus file and its blocks; texts are short, because here it is the vectors' time that counts."""
    ids = [f"p{number * PART + n:08d}" for n in range(PART)]
    table = pa.table({"id": ids, "title": ids, "text": [f"What stands in passage {id}." for id in ids]})
    found = draw(PART, number + 1).astype(np.float16)
    file = every / f"part-{number:05d}.parquet"
    for start in range(0, PART, BLOCK):
        block = CorpusBlock(str(file), start, min(start + BLOCK, PART))
        np.save(vectors / f"{name_of(block)}.npy", found[start : start + BLOCK], allow_pickle=False)
    pq.write_table(table, file, row_group_size=BLOCK)
