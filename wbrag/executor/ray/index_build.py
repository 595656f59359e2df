"""Index build on Ray: passages embedded block by block, shards built in parallel as soon as their blocks are there.

A block of vectors is one `.npy` file, written aside and renamed; a killed build repeats at most the blocks in flight,
and a finished shard is never built again.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray

from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, location
from wbrag.executor.ray.capacity import Asked, nodes
from wbrag.executor.ray.corpus_blocks import CorpusBlock, assign, plan
from wbrag.executor.ray.failures import translated
from wbrag.executor.ray.session import ANYWHERE, Session, wait
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest, ShardFiles
from wbrag.retrieval.index.shard import Block, build_once
from wbrag.retrieval.index.sizes import build_bytes

Progress = Callable[[int, int], None]
T = TypeVar("T")
AT_ONCE = 2  # blocks in one encoder's hands: one is read while the other is encoded
LOOKS_S = 1.0  # between two looks for encoders that have come up
MOST_THREADS = 16  # of one build: FAISS gains little from more


@translated("the build of the index")
def build_index(
    session: Session,
    corpus: Location,
    corpus_fingerprint: str,
    embeddings: Location,
    root: Location,
    progress: Progress | None = None,
) -> Manifest:
    """Embed and index `corpus`, resuming what is there; the manifest is the caller's to write."""
    config = session.config
    blocks = plan(corpus, config.index.block_rows, config.index.shards)
    session.connect()
    shards = assign(blocks, config.index.shards)
    encoder = session.encoder()
    dimension = int(ray.get(encoder.up()[0].dimension.remote()))
    tag = fingerprint(encoder_fingerprint(config.encoder), corpus_fingerprint)
    vectors = embeddings / tag
    vectors.mkdir(parents=True, exist_ok=True)
    names = [
        f"base-{fingerprint(tag, config.index.factory, [asdict(b) | {'file': location(b.file).name} for b in mine])}"
        for mine in shards
    ]
    total = sum(b.rows for b in blocks)

    building: dict[int, tuple[Any, Any, Any]] = {}
    begin = _builders(session, root, vectors, dimension, len(shards), max(sum(b.rows for b in s) for s in shards))
    there = {file.name for file in vectors.glob("*.npy")}
    missing = {i: {b.name for b in mine} - there for i, mine in enumerate(shards)}
    done = total - sum(b.rows for i, mine in enumerate(shards) for b in mine if b.name in missing[i])

    def start_complete_shards() -> None:
        for i in [i for i, names_left in missing.items() if not names_left and i not in building]:
            building[i] = begin(names[i], shards[i])

    start_complete_shards()
    for name, rows in _embed(
        session, [b for i, mine in enumerate(shards) for b in mine if b.name in missing[i]], vectors
    ):
        for left in missing.values():
            left.discard(name)
        done += rows
        if progress:
            progress(done, total)
        start_complete_shards()
    files = [_built(*building[i], config.ray.start_timeout_s) for i in range(len(shards))]
    return Manifest(
        encoder_fingerprint(config.encoder), config.encoder.model, dimension, config.index.factory, tuple(files)
    )


def _builders(
    session: Session, root: Location, vectors: Location, dimension: int, shards: int, most: int
) -> Callable[[str, list[CorpusBlock]], tuple[Any, Any, Any]]:
    """What begins to build a shard: the actor, what says that it has its place, and the files to come.

    Each has its share of the cores, and memory for its training sample and its index.
    """
    factory = session.config.index.factory
    free, largest = ray.available_resources().get("CPU", 1.0), max(node.get("CPU", 0.0) for node in nodes())
    threads = max(1, min(MOST_THREADS, int(free) // shards, int(largest) - 1))
    memory = build_bytes(most, dimension, factory)
    session.check(Asked("shard builds", 1, threads, memory=memory, lower="raise index.shards or choose SQfp16"))
    actor = ray.remote(ShardBuilder).options(num_cpus=threads, memory=memory, **ANYWHERE)

    def begin(name: str, blocks: list[CorpusBlock]) -> tuple[Any, Any, Any]:
        builder = actor.remote()
        built = builder.build.remote(str(root), name, factory, dimension, blocks, str(vectors), threads)
        return builder, builder.ready.remote(), built

    return begin


def _built(builder: Any, ready: Any, built: Any, limit_s: float) -> ShardFiles:
    """The files of a shard, once they are there; its builder must have found a place by then, or soon."""
    if not ray.wait([built], timeout=0)[0]:
        wait([ready], "the builders of shards", limit_s)
    found: ShardFiles = ray.get(built)
    ray.kill(builder)
    return found


def spread(function: Callable[..., T], root: Location, over: Sequence[tuple[Any, ...]]) -> Iterator[T]:
    """What `function(root, ...)` gives for each of `over`, in their order, worked out side by side."""
    task = ray.remote(_call).options(num_cpus=1, scheduling_strategy="SPREAD")
    for running in [task.remote(function, str(root), rest) for rest in over]:
        with translated("the index of words"):
            found: T = ray.get(running)
        yield found


def _call(function: Callable[..., T], root: str, rest: tuple[Any, ...]) -> T:
    return function(location(root), *rest)


def _embed(session: Session, blocks: Sequence[CorpusBlock], vectors: Location) -> Iterator[tuple[str, int]]:
    """Yields (file name, rows) of each block as it is written.

    An encoder has `AT_ONCE` blocks in hand; one that comes up later takes its share from then on. It reads and writes
    them itself, so that no text passes through this process.
    """
    if not blocks:
        return
    encoder, waiting, running = session.encoder(), list(reversed(blocks)), dict[Any, tuple[CorpusBlock, Any]]()
    busy: Counter[Any] = Counter()
    while waiting or running:
        for actor in encoder.up():
            while waiting and busy[actor] < AT_ONCE:
                block = waiting.pop()
                running[actor.embed.remote(block, str(vectors))] = block, actor
                busy[actor] += 1
        for done in ray.wait(list(running), timeout=LOOKS_S)[0]:
            block, actor = running.pop(done)
            busy[actor] -= 1
            yield block.name, ray.get(done)


def _load(file: Location) -> Any:
    """Vectors [n, d], mapped from disk where they are local."""
    if isinstance(file, Path):
        return np.load(file, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)


class ShardBuilder:
    """One shard from its blocks, in a process of its own: FAISS keeps its threads for what Ray puts there next."""

    async def ready(self) -> bool:
        return True

    async def build(
        self, root: str, name: str, factory: str, dimension: int, blocks: list[CorpusBlock], vectors: str, threads: int
    ) -> ShardFiles:
        return await asyncio.to_thread(_build, root, name, factory, dimension, blocks, vectors, threads)


def _build(
    root: str, name: str, factory: str, dimension: int, blocks: list[CorpusBlock], vectors: str, threads: int
) -> ShardFiles:
    import faiss

    def stream() -> Iterator[Block]:
        for block in blocks:
            yield _load(location(vectors) / block.name), block.read()

    faiss.omp_set_num_threads(min(threads, os.cpu_count() or 1))
    return build_once(location(root), name, factory, dimension, stream(), sum(b.rows for b in blocks))
