"""FAISS shard: built from a stream of vectors, searched exactly, its texts memory-mapped.

Checksums are compared before FAISS opens a file. Memory maps and FAISS need this machine's disk, so a shard in an
object store is opened by way of a copy, which is named by the checksums; a damaged copy is fetched again.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from heapq import nsmallest
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.io.files import Location, digests, folder_in_one_step, write_atomically
from wbrag.core.io.schemas import schema_of
from wbrag.core.types import Hit, Origin, PassageText
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.index import scan
from wbrag.retrieval.index.build import add_exact, fill, new_index, reserve, train, write_index
from wbrag.retrieval.index.copies import with_copy
from wbrag.retrieval.index.labels import Visible, Writer, labels_of
from wbrag.retrieval.index.manifest import Manifest, ShardFiles, verify
from wbrag.retrieval.keywords.index import KeywordIndex

OPENED_TOGETHER = 4  # shards that are fetched
SPARE = 8  # candidates of an exact shard beyond k, so that rounding decides nothing at the cut
ROUNDING = 1e-5  # what two ways to add up an inner product of unit vectors differ by, many times over
GPU_ROUNDING = 2e-4  # the same where FAISS rounds queries to float16, as it does for a flat float16 index on a GPU
SCORED = 4 << 20  # numbers of stored vectors that are float32 at a time: 16 MB, whatever is asked
GPU_MOST = 1024  # hits that every FAISS finds on a GPU: https://github.com/facebookresearch/faiss/wiki/Faiss-on-the-GPU
RESCORED = 8  # a compressed shard fetches this many times k and scores them again with fp16 vectors
log = logging.getLogger(__name__)
PASSAGES = schema_of(PassageText)
SOURCE = pa.field("source", pa.string())  # kept beside them where the blocks have it
Block = tuple[npt.NDArray[Any], pa.Table]  # vectors [n, d] float16 or float32, and their passages


def build_shard(
    root: Location,
    name: str,
    factory: str,
    dimension: int,
    blocks: Iterable[Block],
    expected: int = 0,
    trained: ShardFiles | None = None,
) -> ShardFiles:
    """Write `root/name` from `blocks`; memory is bounded by the shard's index, one block and a training sample.

    `expected` is how many vectors there will be, where that is known: room for them is set aside once. `trained` is an
    empty index in `root` that all shards share; without it the shard learns from its own vectors.
    """
    index = open_trained(root, trained) if trained else new_index(factory, dimension)
    if flat := exact(factory):
        reserve(index, expected)
    count = 0
    with folder_in_one_step(root / name) as scratch:
        stored, stack = scratch / "vectors.f16", ExitStack()
        blocks = iter(blocks)
        first = next(blocks, None)
        kept = PASSAGES.append(SOURCE) if first and SOURCE.name in first[1].column_names else PASSAGES
        with (
            stack,
            nullcontext() if flat else stored.open("wb") as keep,
            pa.OSFile(str(scratch / "passages.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, kept) as texts,
        ):
            labels = Writer(scratch, stack)
            for vectors, passages in chain([first] if first else [], blocks):
                if keep:
                    keep.write(np.ascontiguousarray(vectors, dtype=np.float16).data)
                else:
                    add_exact(index, vectors)
                texts.write_table(passages.select(kept.names).cast(kept).combine_chunks())
                labels.write(passages)
                count += len(vectors)
        if not flat:
            fill(index, stored, count)
        write_index(index, scratch / "vectors.faiss")
        del index  # its memory, before the files are read again
        found = digests(scratch)
    return ShardFiles(name, count, found)


def write_trained(root: Location, name: str, factory: str, sample: Vectors, count: int) -> ShardFiles:
    """Put an empty index into `root/name` that has learnt from `sample` [n, d], out of `count` vectors."""

    def make() -> ShardFiles:
        index = new_index(factory, sample.shape[1])
        train(index, sample, count)
        with folder_in_one_step(root / name) as scratch:
            write_index(index, scratch / "vectors.faiss")
            return ShardFiles(name, 0, digests(scratch))

    return once(root, name, make)


def open_trained(root: Location, files: ShardFiles) -> Any:
    """The empty index of `write_trained`, its checksum compared."""
    import faiss

    def read(root: Path, files: ShardFiles) -> Any:
        return faiss.read_index(str(verify(root, files) / "vectors.faiss"))

    return with_copy(root, files, None, read)


def build_once(
    root: Location,
    name: str,
    factory: str,
    dimension: int,
    blocks: Iterable[Block],
    expected: int = 0,
    trained: ShardFiles | None = None,
) -> ShardFiles:
    """`build_shard`, unless `root/name` stands there: a finished shard is known by the record beside it.

    `name` says what the shard is made of; `blocks` is not touched where nothing is to be built.
    """
    return once(root, name, lambda: build_shard(root, name, factory, dimension, blocks, expected, trained))


def once(root: Location, name: str, make: Callable[[], ShardFiles]) -> ShardFiles:
    """What `make` puts in `root/name`, unless a record beside that folder says that it is finished."""
    if found := finished(root, name):
        return found
    files = make()
    write_atomically(root / f"{name}.json", json.dumps(asdict(files)) + "\n")
    return files


def finished(root: Location, name: str) -> ShardFiles | None:
    """The files of `root/name`, where the record beside it says that it is finished, and they are there."""
    record = root / f"{name}.json"
    if not record.is_file():
        return None
    files = ShardFiles(**json.loads(record.read_text(encoding="utf-8")))
    if isinstance(record, Path):
        record.touch()  # it is wanted again: `wbrag tidy` goes by age
    return files if all((root / name / file).is_file() for file in files.sha256) else None


def exact(factory: str) -> bool:
    return factory in ("SQfp16", "Flat")


def _to_gpu(index: Any, factory: str) -> Any:
    """The index on the GPU that Ray shows; None, with a word, for a kind that FAISS has on CPUs alone (SQ8, HNSW)."""
    import faiss

    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError as error:
        log.warning("an index %s is searched on the CPU, FAISS cannot put it on a GPU: %s", factory, str(error)[:200])
        return None


class Shard:
    """A verified shard in memory, its texts mapped from disk; searched on the GPU where FAISS has one.

    Host memory holds the index in either case: a flat one's hits are scored again from it, and its ties settled.
    """

    def __init__(self, root: Path, files: ShardFiles, manifest: Manifest, origin: Origin, *, gpu: bool = True) -> None:
        import faiss

        folder = verify(root, files)
        self.origin, self.count = origin, files.count
        # Mapped, so that the processes of a machine share it, and what is not searched need not be in memory.
        self.index = faiss.read_index(str(folder / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)
        self.on_gpu: Any = None
        if gpu and getattr(faiss, "get_num_gpus", lambda: 0)() > 0:
            self.on_gpu = _to_gpu(self.index, manifest.factory)
        self._one_at_a_time = threading.Lock()  # FAISS's GPU indexes are not safe for several threads
        self.exact = exact(manifest.factory)
        self.vectors = (
            scan.flat_vectors(self.index)
            if self.exact
            else np.memmap(folder / "vectors.f16", np.float16, "r", shape=(files.count, manifest.dimension))
        )
        self.passages = read_passages(folder)
        self.labels = labels_of(folder, files.count)
        self.keywords: KeywordIndex | None = None
        self._batches = self.passages.to_batches()
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def visible(self, allowed: Allowed) -> Visible | None:
        """What of the shard may be shown; None for all of it."""
        if self.labels is not None:
            return self.labels.visible(allowed)
        return Visible(0, np.empty(0, np.uint8)) if allowed.filter else None

    def search(self, queries: Vectors, k: int, allowed: Allowed = EVERYTHING) -> list[list[Hit]]:
        """The best `k` of what is `allowed` of this shard for each row of `queries` [n, d]; ties by id.

        A score never depends on which queries came together: hits are scored again, one by one, by the stored vectors.
        """
        visible = self.visible(allowed)
        count = self.count if visible is None else visible.shown
        wanted = min(count, k + SPARE if self.exact else max(k * RESCORED, 64))
        if not wanted or not k:
            return [[] for _ in range(len(queries))]
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        scores, rows = self.nearest(queries, wanted, visible)
        tied = np.zeros(len(queries), bool)
        if self.exact and wanted < count:
            tied = scores[:, k - 1] - scores[:, -1] < self.rounding
        found = self.similarities(queries, np.maximum(rows, 0)) if self.vectors is not None else scores
        hits = [[] if late else self._hits(s[r >= 0], r[r >= 0], k) for late, s, r in zip(tied, found, rows)]
        if tied.any():  # at the cut; it is settled by id, so all of it must be seen
            late = np.flatnonzero(tied)
            shown = None if visible is None else visible.mask(self.count)
            for row, near in zip(late, self._within(queries[late], scores[late, k - 1] - self.rounding)):
                near = np.union1d(near if shown is None else near[shown[near]], rows[row])
                [scored] = self.similarities(queries[row : row + 1], near[None])
                hits[row] = self._hits(scored, near, k)
        return hits

    def _within(self, queries: Vectors, least: Vectors) -> list[npt.NDArray[np.int64]]:
        """The rows that score at least `least` [n] for each of `queries` [n, d], in one pass over the vectors."""
        assert self.vectors is not None
        found: list[list[npt.NDArray[np.int64]]] = [[] for _ in queries]
        for start in range(0, self.count, scan.PIECE):
            scores = queries @ self.vectors[start : start + scan.PIECE].astype(np.float32).T
            for row, near in enumerate(scores >= least[:, None]):
                found[row].append(np.flatnonzero(near) + start)
        return [np.concatenate(rows) for rows in found]

    @property
    def rounding(self) -> float:
        """What two ways to add up an inner product may differ by here."""
        return ROUNDING if self.on_gpu is None else GPU_ROUNDING

    def similarities(self, queries: Vectors, rows: npt.NDArray[np.int64]) -> Vectors:
        """The inner products [n, k] of each of `queries` [n, d] with the passages at its `rows` [n, k]."""
        assert self.vectors is not None  # an exact index gives them, and beside any other they are stored
        found = np.empty(rows.shape, np.float32)
        each = max(1, SCORED // queries.shape[1])  # vectors that are float32 at a time
        wide = max(1, each // max(1, rows.shape[1]))
        for n in range(0, len(queries), wide):
            for k in range(0, rows.shape[1], each):
                part = rows[n : n + wide, k : k + each]
                vectors = self.vectors[part].astype(np.float32)
                found[n : n + wide, k : k + each] = np.einsum("nd,nkd->nk", queries[n : n + wide], vectors)
        return found

    def vectors_of(self, ids: Collection[str]) -> dict[str, Vectors]:
        """The vectors [d], float32, of those of its passages that `ids` name."""
        named = pc.is_in(self.passages["id"], value_set=pa.array(sorted(ids), pa.string()))
        assert self.vectors is not None
        found = np.asarray(self.vectors[np.flatnonzero(named.to_numpy())], dtype=np.float32)
        return dict(zip(self.passages["id"].filter(named).to_pylist(), found, strict=True))

    def nearest(
        self, queries: Vectors, k: int, visible: Visible | None = None
    ) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """Scores and rows [n, k] as FAISS finds them; row -1 for none. `k` is at most what is `visible`."""
        if visible is not None:
            assert self.vectors is not None
            return scan.nearest_visible(self.index, self.vectors, queries, k, visible)
        if self.on_gpu is not None and k <= GPU_MOST:
            with self._one_at_a_time:
                scores, rows = self.on_gpu.search(queries, k)
            return scores, rows
        if (
            self.exact
            and self.vectors is not None
            and self.count >= scan.MIN_VECTORS
            and len(queries) >= scan.MIN_QUERIES
        ):
            return scan.nearest(self.vectors, queries, k)
        scores, rows = self.index.search(queries, k)
        return scores, rows

    def _hits(self, scores: Vectors, rows: npt.NDArray[np.int64], k: int) -> list[Hit]:
        if 0 < k < len(scores):
            keep = scores >= np.partition(scores, -k)[-k]  # with what is tied at the cut
            scores, rows = scores[keep], rows[keep]
        ranked = nsmallest(k, zip((-scores).tolist(), self._ids(rows), rows.tolist()))
        return [self.hit(row, -score) for score, _, row in ranked]  # their texts alone are read

    def _ids(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The ids of passages at these rows; batch by batch, since thousands may be tied."""
        found = np.empty(len(rows), object)
        batches = np.searchsorted(self._starts, rows, "right") - 1
        for at in np.unique(batches):
            mine = np.flatnonzero(batches == at)
            places = pa.array(rows[mine] - self._starts[at])
            found[mine] = self._batches[at].column("id").take(places).to_pylist()
        return list(found)

    def hit(self, row: int, score: float) -> Hit:
        """The passage at `row`.

        Arrow's `take` over a table of many batches copies all of its text first: 70 ms for 0.5M passages.
        """
        at = int(np.searchsorted(self._starts, row, "right")) - 1
        place, batch = row - int(self._starts[at]), self._batches[at]
        id, title, text = (batch.column(name)[place].as_py() for name in PASSAGES.names)
        source = batch.column(SOURCE.name)[place].as_py() if SOURCE.name in batch.schema.names else ""
        metadata = self.labels.metadata_of(row) if self.labels is not None else None
        return Hit(id, title, text, score, self.origin, source=source or "", metadata=metadata)


def read_passages(folder: Location) -> pa.Table:
    """The texts of the shard in `folder`, mapped from disk where it is local."""
    passages = folder / "passages.arrow"
    source = pa.memory_map(str(passages)) if isinstance(passages, Path) else passages.open_arrow()
    return pa.ipc.open_file(source).read_all()


def open_shard(
    root: Location,
    files: ShardFiles,
    manifest: Manifest,
    origin: Origin,
    *,
    gpu: bool = True,
    cache: Path | None = None,
) -> Shard:
    """The shard, its checksums compared; by way of a copy in `cache`, or where `root` is no local folder."""
    shard = with_copy(root, files, cache, lambda root, files: Shard(root, files, manifest, origin, gpu=gpu))
    if manifest.keywords:
        part = manifest.keywords.shards[manifest.shards.index(files)]
        places = [with_copy(root, one, cache, verify) for one in (part, manifest.keywords.statistics)]
        shard.keywords = KeywordIndex.open(*places)
    return shard


def open_shards(root: Location, manifest: Manifest, origin: Origin, *, gpu: bool = True) -> Sequence[Shard]:
    """Every shard of an index, checksums first."""
    with ThreadPoolExecutor(1 if isinstance(root, Path) else OPENED_TOGETHER) as pool:
        return list(pool.map(lambda files: open_shard(root, files, manifest, origin, gpu=gpu), manifest.shards))
