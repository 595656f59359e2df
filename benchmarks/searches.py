"""Searches that come together: `python benchmarks/searches.py [--quick]`, one minute.

So many callers search a flat shard of a million vectors at once, as rows of an enrichment do. wbrag's shard answers
whatever has come while it was busy in one reading of its vectors; the peer is FAISS's own search over the same
vectors, given the same queries in one call. Turn by turn, on the same threads.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measured import Figure, arguments, record
from vectors import DIMENSION, draw

from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import PASSAGES, Block, Shard, build_once
from wbrag.retrieval.retriever import LocalShard

K, ROUNDS, BLOCK = 5, 5, 50_000
TOGETHER = (1, 4, 8, 16, 32, 128)


def main() -> None:
    parser = arguments(__doc__ or "")
    given = parser.parse_args()
    count, rounds = (100_000, 2) if given.quick else (1_000_000, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        files = build_once(Path(folder), "base", "SQfp16", DIMENSION, blocks(count), count)
        shard = Shard(Path(folder), files, Manifest("", "", DIMENSION, "SQfp16", (files,)), "base", gpu=False)
        figures = [figure for callers in TOGETHER for figure in measure(shard, callers, rounds)]
    about = f"{count:,} vectors of {DIMENSION} dimensions in one flat shard (SQfp16), k = {K}."
    record("searches", "python benchmarks/searches.py", figures, about, quick=given.quick, note=given.note)


def blocks(count: int) -> Iterator[Block]:
    for start in range(0, count, BLOCK):
        ids = [f"p{n:08d}" for n in range(start, start + BLOCK)]
        texts = pa.table([ids, ids, [f"What stands in {id}." for id in ids]], schema=PASSAGES)
        yield draw(BLOCK, start // BLOCK + 1).astype(np.float16), texts


def measure(shard: Shard, callers: int, rounds: int) -> list[Figure]:
    queries, local = draw(callers, stream=9_000_000), LocalShard(shard)

    async def ask() -> None:
        await asyncio.gather(*(local.search(query[None], K) for query in queries))

    def alone() -> Any:
        return shard.index.search(queries, K)

    ours, peer = in_turn(lambda: asyncio.run(ask()), alone, rounds)
    short = f"{callers} searches of a flat shard at once, over FAISS's own" if callers == 32 else ""
    return [
        Figure(f"{callers} at once: FAISS / wbrag", peer / ours, short=short),
        Figure(f"{callers} at once: wbrag", ours * 1e3, "ms"),
        Figure(f"{callers} at once: FAISS", peer * 1e3, "ms"),
    ]


def in_turn(one: Callable[[], Any], other: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of each, after a call that does not count."""
    took: tuple[list[float], list[float]] = [], []
    for _ in range(rounds + 1):
        for call, seconds in zip((one, other), took):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return statistics.median(took[0][1:]), statistics.median(took[1][1:])


if __name__ == "__main__":
    main()
