"""Searches that come together: `python benchmarks/searches.py [--quick]`, one minute.

So many callers search a flat shard of a million vectors at once, as rows of an enrichment do. wbrag's shard answers
whatever has come while it was busy in one reading of its vectors; the peer is FAISS's own search over the same
vectors, given the same queries in one call. Turn by turn, on the same threads.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from lib.measured import Figure, arguments, record
from lib.timing import in_turn
from lib.vectors import DIMENSION, draw, shard_blocks

from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import Shard, build_once
from wbrag.retrieval.retriever import LocalShard

K, ROUNDS = 5, 5
TOGETHER = (1, 4, 8, 16, 32, 128)


def main() -> None:
    parser = arguments(__doc__ or "")
    given = parser.parse_args()
    count, rounds = (100_000, 2) if given.quick else (1_000_000, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        files = build_once(Path(folder), "base", "SQfp16", DIMENSION, shard_blocks(count), count)
        shard = Shard(Path(folder), files, Manifest("", "", DIMENSION, "SQfp16", (files,)), "base", gpu=False)
        figures = [figure for callers in TOGETHER for figure in measure(shard, callers, rounds)]
    about = f"{count:,} vectors of {DIMENSION} dimensions in one flat shard (SQfp16), k = {K}."
    record("searches", "python benchmarks/searches.py", figures, about, quick=given.quick, note=given.note)


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


if __name__ == "__main__":
    main()
