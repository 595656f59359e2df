"""Index build on Ray: passages embedded block by block, shards built in parallel as soon as their blocks are there.

A block of vectors is one `.npy` file, written aside and renamed; a killed build repeats at most the blocks in flight,
and a finished shard is never built again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from wbrag.core.errors import WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, file_in_one_step, location, opened
from wbrag.core.io.parquet import corpus_files
from wbrag.executor.ray.failures import translated
from wbrag.executor.ray.quiet import data_context
from wbrag.executor.ray.session import Session
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest, ShardFiles
from wbrag.retrieval.index.shard import Block, build_once

Progress = Callable[[int, int], None]
T = TypeVar("T")
AT_ONCE = 2  # blocks in one encoder's hands: one is read and tokenized while the other is encoded


@dataclass(frozen=True)
class CorpusBlock:
    """Rows [start, stop) of one corpus file: the unit of embedding."""

    file: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{location(self.file).stem}-{self.start:09d}-{self.stop:09d}.npy"

    def read(self) -> pa.Table:
        """The passages of these rows, without reading the row groups around them."""
        parquet = pq.ParquetFile(opened(location(self.file)))
        first, pieces = 0, []
        for group in range(parquet.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            if first < self.stop and first + count > self.start:
                table = parquet.read_row_group(group, columns=["id", "title", "text", "source"])
                pieces.append(table.slice(max(0, self.start - first), self.stop - max(first, self.start)))
            first += count
        return pa.concat_tables(pieces)

    def contents(self) -> list[str]:
        """Each passage as an encoder reads it."""
        table = self.read()
        return [f"{title}\n{text}" for title, text in zip(table["title"].to_pylist(), table["text"].to_pylist())]

    def keep(self, vectors: npt.NDArray[np.float32], folder: Location) -> None:
        """Its vectors [n, d], as one file."""
        with file_in_one_step(folder / self.name) as scratch, scratch.open("wb") as file:
            np.save(file, vectors.astype(np.float16), allow_pickle=False)


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
    dimension = int(ray.get(encoder.actors[0].dimension.remote()))
    tag = fingerprint(encoder_fingerprint(config.encoder), corpus_fingerprint)
    vectors = embeddings / tag
    vectors.mkdir(parents=True, exist_ok=True)
    names = [
        f"base-{fingerprint(tag, config.index.factory, [asdict(b) | {'file': location(b.file).name} for b in mine])}"
        for mine in shards
    ]
    total = sum(b.stop - b.start for b in blocks)

    building: dict[int, Any] = {}
    there = {file.name for file in vectors.glob("*.npy")}
    missing = {i: {b.name for b in mine} - there for i, mine in enumerate(shards)}
    done = total - sum(b.stop - b.start for i, mine in enumerate(shards) for b in mine if b.name in missing[i])

    def start_complete_shards() -> None:
        for i in [i for i, names_left in missing.items() if not names_left and i not in building]:
            building[i] = _build.remote(str(root), names[i], config.index.factory, dimension, shards[i], str(vectors))

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
    files: list[ShardFiles] = ray.get([building[i] for i in range(len(shards))])
    return Manifest(
        encoder_fingerprint(config.encoder), config.encoder.model, dimension, config.index.factory, tuple(files)
    )


def spread(function: Callable[..., T], root: Location, over: Sequence[tuple[Any, ...]]) -> Iterator[T]:
    """What `function(root, ...)` gives for each of `over`, in their order, worked out side by side."""
    task = ray.remote(_call).options(num_cpus=1, scheduling_strategy="SPREAD")
    for running in [task.remote(function, str(root), rest) for rest in over]:
        with translated("the index of words"):
            found: T = ray.get(running)
        yield found


def _call(function: Callable[..., T], root: str, rest: tuple[Any, ...]) -> T:
    return function(location(root), *rest)


def plan(corpus: Location, block_rows: int, shards: int) -> list[CorpusBlock]:
    """The corpus in blocks, in order; small enough that every shard has some and progress is seen."""
    counts = {str(file): pq.read_metadata(opened(file)).num_rows for file in corpus_files(corpus)}
    if not sum(counts.values()):
        raise WbragError(f"expected a corpus in {corpus}, found no passages: run `wbrag ingest corpus PATH` first")
    size = max(1, min(block_rows, -(-sum(counts.values()) // (shards * 8))))
    return [
        CorpusBlock(file, start, min(start + size, count))
        for file, count in counts.items()
        for start in range(0, count, size)
    ]


def assign(blocks: list[CorpusBlock], shards: int) -> list[list[CorpusBlock]]:
    """Consecutive blocks to shards, as even as blocks allow; never an empty shard."""
    count = min(shards, len(blocks))
    return [blocks[len(blocks) * i // count : len(blocks) * (i + 1) // count] for i in range(count)]


def _embed(session: Session, blocks: list[CorpusBlock], vectors: Location) -> Iterator[tuple[str, int]]:
    """Yields (file name, rows) of each block as it is written."""
    config = session.config
    few = sum(b.stop - b.start for b in blocks) <= config.ray.spread_above and config.encoder.actors[1] == 1
    return (_embed_here if few else _embed_spread)(session, blocks, vectors)


def _embed_here(session: Session, blocks: list[CorpusBlock], vectors: Location) -> Iterator[tuple[str, int]]:
    """A small corpus, handed to the encoder by this process: Ray Data takes seconds to start."""
    encoder, waiting, running = session.encoder(), list(reversed(blocks)), dict[Any, CorpusBlock]()
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            block = waiting.pop()
            running[encoder.begin_passages(block.contents())] = block
        [done], _ = ray.wait(list(running))
        block = running.pop(done)
        block.keep(ray.get(done), vectors)
        yield block.name, block.stop - block.start


def _embed_spread(session: Session, blocks: list[CorpusBlock], vectors: Location) -> Iterator[tuple[str, int]]:
    """The Ray Data stage."""
    if not blocks:
        return
    import ray.data  # it takes a second or two

    context = data_context()
    context.execution_options.preserve_order = False
    low, high = session.config.encoder.actors
    rows = [pa.table({"block": [json.dumps(asdict(b))]}) for b in blocks]
    pool = ray.data.ActorPoolStrategy(
        min_size=low, max_size=high, max_tasks_in_flight_per_actor=AT_ONCE, max_concurrent_calls_per_actor=AT_ONCE
    )
    stage = ray.data.from_arrow(rows).map(
        _EmbedBlock, fn_constructor_args=(session.encoder(), str(vectors)), compute=pool, num_cpus=0.5
    )
    for row in stage.iter_rows():
        yield row["name"], row["rows"]


class _EmbedBlock:
    def __init__(self, encoder: Any, folder: str) -> None:
        self.encoder, self.folder = encoder, location(folder)

    async def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        block = CorpusBlock(**json.loads(row["block"]))
        block.keep(await self.encoder.passages(block.contents()), self.folder)
        return {"name": block.name, "rows": block.stop - block.start}


def _load(file: Location) -> Any:
    """Vectors [n, d], mapped from disk where they are local."""
    if isinstance(file, Path):
        return np.load(file, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)


# Begun again on another node where its own is lost. Its process goes with it: FAISS would keep its one thread there,
# for the shard actor that Ray may put into an idle process.
@ray.remote(num_cpus=1, scheduling_strategy="SPREAD", max_calls=1)
def _build(root: str, name: str, factory: str, dimension: int, blocks: list[CorpusBlock], vectors: str) -> ShardFiles:
    """One shard from its blocks."""

    def stream() -> Iterator[Block]:
        for block in blocks:
            yield _load(location(vectors) / block.name), block.read()

    count = sum(block.stop - block.start for block in blocks)
    return build_once(location(root), name, factory, dimension, stream(), count)
