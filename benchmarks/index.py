"""The index: how fast it is built, in how much memory, and how fast and how rightly it is searched.

`python benchmarks/index.py [--quick] [--folder DIR]`: about 10 minutes, 16 GB of memory, 35 GB of disk in DIR.

wbrag builds with the tasks of `wbrag index` (lists that are trained once, two shards, one core each) from stored
vectors, FAISS in one process from the same files with the same factory and as large a training sample, on one thread
and on both. wbrag's time holds what FAISS's does not: the passages' texts (short ones here), float16 vectors beside a
compressed index, and a checksum of every file.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from lib.measured import Figure, arguments, record
from lib.memory import peak_since
from lib.vectors import BLOCK, DIMENSION, Array, corpus, draw, name_of, places_of

from wbrag.core.config import load
from wbrag.core.types import Origin
from wbrag.executor.ray.corpus_blocks import assign, plan
from wbrag.executor.ray.index_build import build_one
from wbrag.executor.ray.index_lists import train_one
from wbrag.executor.ray.session import Session
from wbrag.retrieval.index.build import FEWEST_CENTROIDS, POINTS_PER_CENTROID, runs, trained_on
from wbrag.retrieval.index.manifest import Manifest, ShardFiles
from wbrag.retrieval.index.shard import PASSAGES, Shard, build_once
from wbrag.retrieval.index.vector_store import Places
from wbrag.retrieval.retriever import IndexRetriever, LocalShard

SHARDS, K, QUERIES = 2, 5, 300
PEAK = "peak memory / finished index"
LARGE = 1_000_000  # vectors; of fewer the index is small beside a block of them


@dataclass(frozen=True)
class Plan:
    """How much of everything; rows are whole corpus files."""

    middle: int  # for speed and recall
    sizes: tuple[int, ...]  # for memory
    large: int
    factories: tuple[str, ...]
    flat_queries: int = QUERIES


WHOLE = Plan(1_000_000, (250_000, 1_000_000, 4_000_000), 10_000_000, ("SQfp16", "IVF1024,SQfp16", "IVF1024,PQ48"))
QUICK = Plan(100_000, (100_000,), 150_000, ("SQfp16", "IVF64,SQfp16"), 60)


@dataclass(frozen=True)
class Built:
    manifest: Manifest
    seconds: float
    index_bytes: int  # of the FAISS files alone
    peak_bytes: int  # of the building processes, above what they held before


THREADS = max(1, (os.cpu_count() or 1) // SHARDS)  # of one build


@ray.remote(num_cpus=1)
class Builder:
    """A Ray process that has imported everything; builds are neither timed nor weighed with that."""

    def __init__(self) -> None:
        import faiss  # noqa: F401

    def ready(self) -> None:
        """It is."""

    def build(self, *what: Any) -> tuple[ShardFiles, int]:
        """`wbrag index`'s own task for one shard, and the memory it took at most."""
        with peak_since() as peak:
            files = build_one(*what)
        return files, peak.bytes

    def train(self, *what: Any) -> tuple[ShardFiles, int]:
        """The same for the lists that its shards share."""
        with peak_since() as peak:
            files = train_one(*what)
        return files, peak.bytes


@dataclass
class Bench:
    folder: Path

    def build(self, count: int, factory: str) -> Built:
        """wbrag's: the tasks of the shards on Ray, in fresh processes."""
        blocks = assign(plan(corpus(self.folder, count), BLOCK, SHARDS), SHARDS)
        trainer, *builders = (Builder.remote() for _ in range(1 + len(blocks)))  # type: ignore[attr-defined]
        ray.get([builder.ready.remote() for builder in (trainer, *builders)])
        start = time.perf_counter()
        root, vectors = str(self.folder / "index"), str(self.folder / "vectors")
        trained, most = None, 0
        if wanted := trained_on(factory, DIMENSION):
            places = places_of([block for mine in blocks for block in mine])
            rows = np.concatenate([np.arange(*run) for run in runs(count, wanted)])
            sample = Places(places.packs, places.pack[rows], places.row[rows])
            what = root, f"trained-{factory}-{count}", factory, count, vectors, sample
            trained, most = ray.get(trainer.train.remote(*what))
        ray.kill(trainer)
        tasks = [
            builder.build.remote(
                root, f"{factory}-{count}-{n}", factory, DIMENSION, mine, places_of(mine), vectors, THREADS, trained
            )
            for n, (builder, mine) in enumerate(zip(builders, blocks))
        ]
        done = ray.get(tasks)
        seconds = time.perf_counter() - start
        for builder in builders:
            ray.kill(builder)
        manifest = Manifest("", "", DIMENSION, factory, tuple(files for files, _ in done))
        size = sum((self.folder / "index" / files.folder / "vectors.faiss").stat().st_size for files, _ in done)
        return Built(manifest, seconds, size, max(most, sum(peak for _, peak in done)))

    def faiss(self, count: int, factory: str, threads: int) -> float:
        """Seconds of FAISS alone in a process of its own, which has imported it."""
        blocks = plan(corpus(self.folder, count), BLOCK, SHARDS)
        files = [str(self.folder / "vectors" / f"{name_of(block)}.npy") for block in blocks]
        with _threads(threads), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(one_process, factory, files, str(self.folder / "one.faiss")).result()

    def retriever(self, manifest: Manifest, queries: Array, writeback: Manifest | None = None) -> IndexRetriever:
        root = self.folder / "index"
        parts: list[tuple[Manifest, Origin]] = [(manifest, "base")]
        parts += [(writeback, "writeback")] if writeback else []
        shards = [LocalShard(Shard(root, files, m, origin, gpu=False)) for m, origin in parts for files in m.shards]
        return IndexRetriever(Given(queries), shards)

    def drop(self, manifest: Manifest) -> None:
        for files in manifest.shards:
            shutil.rmtree(self.folder / "index" / files.folder)
            (self.folder / "index" / f"{files.folder}.json").unlink()
        for trained in (self.folder / "index").glob("trained-*"):
            shutil.rmtree(trained) if trained.is_dir() else trained.unlink()


class Given:
    """An encoder that was told every query's vector: text `7` is row 7."""

    def __init__(self, vectors: Array) -> None:
        self.vectors = vectors

    async def queries(self, texts: Sequence[str]) -> Array:
        return self.vectors[[int(text) for text in texts]]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes started inside compute on `count` threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def one_process(factory: str, files: Sequence[str], out: str) -> float:
    """Train, add block by block, write: what FAISS's tutorial does with vectors that do not fit as float32."""
    import faiss

    start = time.perf_counter()
    index = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        lists = faiss.try_extract_index_ivf(index)
        wanted = POINTS_PER_CENTROID * max(FEWEST_CENTROIDS, 0 if lists is None else lists.nlist)
        share = -(-wanted // len(files))
        index.train(np.concatenate([np.load(f, mmap_mode="r")[:share].astype(np.float32) for f in files]))
    for file in files:
        index.add(np.load(file, mmap_mode="r").astype(np.float32))
    faiss.write_index(index, out)
    return time.perf_counter() - start


def exact(files: Sequence[str], queries: Array) -> Array:
    """Row numbers of the `K` nearest vectors of each query [n, K]."""
    best, where, first = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), 0
    for file in files:
        vectors = np.load(file, mmap_mode="r").astype(np.float32)
        numbers = np.broadcast_to(np.arange(first, first + len(vectors)), (len(queries), len(vectors)))
        best = np.concatenate([best, queries @ vectors.T], axis=1)
        where = np.concatenate([where, numbers], axis=1)
        top = np.argpartition(-best, K - 1, axis=1)[:, :K]
        best, where = np.take_along_axis(best, top, 1), np.take_along_axis(where, top, 1)
        first += len(vectors)
    return where


def latencies(retriever: IndexRetriever, count: int, batch: int = 1) -> list[float]:
    """Seconds of each of `count` searches for `batch` queries, after one that does not count."""

    async def run() -> list[float]:
        seconds = []
        for n in range(-1, count):
            texts = [str((n * batch + i) % QUERIES) for i in range(batch)]
            start = time.perf_counter()
            await retriever.search(texts, K)
            seconds.append(time.perf_counter() - start)
        return seconds[1:]

    return asyncio.run(run())


def recall(retriever: IndexRetriever, truth: Array) -> float:
    found = asyncio.run(retriever.search([str(n) for n in range(len(truth))], K))
    right = [len({hit.id for hit in hits} & {f"p{n:08d}" for n in row}) for hits, row in zip(found, truth.tolist())]
    return sum(right) / (K * len(truth))


def merged(bench: Bench, base: Manifest, count: int, queries: Array, searches: int) -> float:
    """How much longer a search takes with a write-back index of 1%: median over median, searches in turn."""
    units = draw(count // 100, stream=9_000_001)
    ids = [f"wb-{n:08d}" for n in range(len(units))]
    texts = pa.table([ids, ids, [f"What unit {id} says." for id in ids]], schema=PASSAGES)
    files = build_once(bench.folder / "index", f"units-{count}", "SQfp16", DIMENSION, [(units, texts)])
    both = bench.retriever(base, queries, Manifest("", "", DIMENSION, "SQfp16", (files,)))
    alone = IndexRetriever(both.encoder, [shard for shard in both.shards if shard.origin == "base"])
    seconds: tuple[list[float], list[float]] = [], []

    async def run() -> None:
        for n in range(-2, searches):
            for retriever, found in zip((alone, both) if n % 2 else (both, alone), seconds if n % 2 else seconds[::-1]):
                start = time.perf_counter()
                await retriever.search([str(n % QUERIES)], K)
                found.append(time.perf_counter() - start)

    asyncio.run(run())
    return statistics.median(seconds[1][2:]) / statistics.median(seconds[0][2:])


def percentile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return float(np.percentile(seconds, share)) * 1000


def at_the_middle(bench: Bench, planned: Plan) -> Iterator[Figure]:
    """Speed against FAISS, recall, latency and the merged search, for every factory."""
    count = planned.middle
    queries = draw(QUERIES, stream=9_000_000)
    blocks = plan(corpus(bench.folder, count), BLOCK, SHARDS)
    truth = exact([str(bench.folder / "vectors" / f"{name_of(block)}.npy") for block in blocks], queries)
    for factory in planned.factories:
        flat = factory == "SQfp16"
        name = f"{factory}, {count:,} vectors"
        two, built = bench.faiss(count, factory, 2), bench.build(count, factory)
        yield Figure(f"{name}: built", built.seconds, "s")
        if "PQ" not in factory:  # minutes of training
            yield Figure(f"{name}: FAISS on 1 thread / wbrag", bench.faiss(count, factory, 1) / built.seconds)
        short = "Index build over one-process FAISS" + ("" if flat else ", with lists") if "PQ" not in factory else ""
        yield Figure(
            f"{name}: FAISS on both cores / wbrag", two / built.seconds, target=1.7 if flat else 1.25, short=short
        )
        retriever = bench.retriever(built.manifest, queries)
        yield Figure(f"{name}: recall@{K}", recall(retriever, truth), "")
        seconds = latencies(retriever, QUERIES if not flat else planned.flat_queries // 3)
        yield Figure(f"{name}: search p50", percentile(seconds, 50), "ms")
        del retriever
        ratio = merged(bench, built.manifest, count, queries, planned.flat_queries)
        target, short = (1.03, "Search with a write-back index of 1% over base alone") if flat else (None, "")
        yield Figure(f"{name}: search with write-back 1% / base", ratio, target=target, better="lower", short=short)
        bench.drop(built.manifest)


def memory(bench: Bench, planned: Plan) -> Iterator[Figure]:
    for factory, short in zip(planned.factories, ("Peak memory of a build over its index", "The same, with lists")):
        figures = []
        for count in planned.sizes:
            built = bench.build(count, factory)
            bench.drop(built.manifest)
            name, ratio = f"{factory}, {count:,} vectors", built.peak_bytes / built.index_bytes
            if count >= LARGE:
                figures.append(Figure(f"{name}: {PEAK}", ratio, target=1.3, better="lower"))
                continue
            above = (built.peak_bytes - built.index_bytes) / 2**20
            yield Figure(f"{name}: peak memory above its index", above, "MB", 128, "lower")
        yield from figures
        if figures:
            yield largest(factory, figures, short)


def largest(factory: str, figures: Sequence[Figure], short: str) -> Figure:
    """The one of `figures` that is hardest on its target."""
    worst = max(figures, key=lambda figure: figure.value)
    return replace(worst, name=f"{factory}, at most: {PEAK}", short=f"{short}, at most")


def at_large(bench: Bench, planned: Plan) -> Iterator[Figure]:
    queries = draw(QUERIES, stream=9_000_000)
    for factory, searches, batches in ((planned.factories[0], 20, 2), (planned.factories[1], 200, 20)):
        built = bench.build(planned.large, factory)
        name = f"{factory}, {planned.large:,} vectors"
        yield Figure(f"{name}: built", built.seconds, "s")
        yield Figure(f"{name}: index", built.index_bytes / 1e9, "GB")
        yield Figure(f"{name}: peak memory", built.peak_bytes / 1e9, "GB")
        start = time.perf_counter()
        retriever = bench.retriever(built.manifest, queries)
        yield Figure(f"{name}: verified and loaded", time.perf_counter() - start, "s")
        seconds = latencies(retriever, searches)
        short = f"Search of {planned.large // 1_000_000}M x {DIMENSION}, p50" if "IVF" in factory else ""
        yield Figure(f"{name}: search p50", percentile(seconds, 50), "ms", short=short)
        yield Figure(f"{name}: search p95", percentile(seconds, 95), "ms")
        seconds = latencies(retriever, batches, 32)
        yield Figure(f"{name}: batch of 32 p50", percentile(seconds, 50), "ms")
        yield Figure(f"{name}: batch of 32 p95", percentile(seconds, 95), "ms")
        del retriever
        bench.drop(built.manifest)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--folder", help="where the vectors and the indexes lie while this runs")
    given = parser.parse_args()
    planned = QUICK if given.quick else WHOLE
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        session = Session(load(workspace=scratch))
        session.connect()
        try:
            bench = Bench(Path(scratch))
            figures: list[Figure] = []
            for part in (at_the_middle, memory, at_large):
                for figure in part(bench, planned):
                    print(f"{figure.name}: {figure.value:.3f} {figure.unit}", flush=True)
                    figures.append(figure)
        finally:
            session.close()
    about = (
        f"Vectors of {DIMENSION} dimensions in clusters, {SHARDS} shards built on one core each by the tasks of "
        f"`wbrag index`, against FAISS in one process on the same files; k = {K}, {QUERIES} queries."
    )
    record("index", "python benchmarks/index.py", figures, about, quick=given.quick, note=given.note)


if __name__ == "__main__":
    main()
