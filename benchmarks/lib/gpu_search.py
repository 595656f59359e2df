"""Search on a GPU: one shard of `wbrag index` on the CPU and on the GPU, the same queries in turn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lib.gpu_sizes import Size
from lib.measured import Figure
from lib.nvidia import Watched
from lib.timing import in_turn
from lib.vectors import DIMENSION, draw, shard_blocks
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import Shard, build_once

K, ROUNDS, TOGETHER = 5, 5, (1, 32, 128)


def faiss_sees_a_gpu() -> bool:
    import faiss

    sees: bool = getattr(faiss, "get_num_gpus", lambda: 0)() > 0  # faiss-cpu has no such function
    if not sees:
        print("FAISS sees no GPU, so its search is left out: requirements/gpu.txt has the faiss-gpu for it")
    return sees


def about(size: Size) -> str:
    return f"a shard of {size.vectors:,} drawn vectors of {DIMENSION} dimensions"


def figures(size: Size, folder: Path, gpu: Watched) -> Iterator[Figure]:
    sees = faiss_sees_a_gpu()
    if sees or size.vectors < 100_000:  # a quick run shows on the CPU that this works
        for factory in size.factories:
            yield from searching(size, folder, factory)


def searching(size: Size, folder: Path, factory: str) -> Iterator[Figure]:
    """The shard of `wbrag index` on the CPU and on the GPU, the same queries in turn."""
    files = build_once(folder, f"searched-{factory}", factory, DIMENSION, shard_blocks(size.vectors), size.vectors)
    manifest = Manifest("", "", DIMENSION, factory, (files,))
    cpu, gpu = (Shard(folder, files, manifest, "base", gpu=gpu) for gpu in (False, True))
    if gpu.on_gpu is None:
        print(f"{factory}: no GPU for FAISS, the same shard twice shows that this works")
    name = f"{factory}, {size.vectors:,} vectors"
    for count in TOGETHER:
        queries = draw(count, stream=9_000_000)
        here, there = in_turn(partial(cpu.search, queries, K), partial(gpu.search, queries, K), ROUNDS)
        alike = [
            len({hit.id for hit in a} & {hit.id for hit in b}) / K
            for a, b in zip(cpu.search(queries, K), gpu.search(queries, K))
        ]
        yield Figure(f"{name}, {count} at once: CPU / GPU", here / there)
        yield Figure(f"{name}, {count} at once: GPU", there * 1e3, "ms")
        yield Figure(f"{name}, {count} at once: hits that both find", sum(alike) / count, "of all")
