"""Corpus blocks: the corpus in pieces that are embedded, and the pieces' shares in shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.allowed import access_of
from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, location, opened
from wbrag.core.io.parquet import corpus_files
from wbrag.data.parts import LABELS
from wbrag.retrieval.index.vector_store import Keys, row_keys, text_keys

COLUMNS = ["id", "title", "text", "source"]
UNEVEN = 1.5  # times the mean that a shard may grow to before the corpus is shared out anew
Shares = Sequence[Sequence[tuple[str, int]]]  # of each shard, the file and the first row of its blocks


@dataclass(frozen=True)
class CorpusBlock:
    """Rows [start, stop) of one corpus file."""

    file: str
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start

    @property
    def place(self) -> tuple[str, int]:
        return location(self.file).name, self.start

    def read(self) -> pa.Table:
        """The passages of these rows, without reading the row groups around them."""
        parquet = pq.ParquetFile(opened(location(self.file)))
        first, pieces = 0, []
        for group in range(parquet.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            if first < self.stop and first + count > self.start:
                table = _read(parquet, group)
                pieces.append(table.slice(max(0, self.start - first), self.stop - max(first, self.start)))
            first += count
        return pa.concat_tables(pieces)

    def contents(self) -> list[str]:
        """Each passage as an encoder reads it."""
        return _contents(self.read())


@dataclass(frozen=True, eq=False)
class Piece:
    """Passages that are embedded together: a block as it is, or those of several blocks that are new."""

    parts: tuple[tuple[CorpusBlock, tuple[int, ...] | None], ...]  # rows of each; None for all
    keys: Keys

    @property
    def name(self) -> str:
        return digest(self.keys)

    def contents(self) -> list[str]:
        found: list[str] = []
        for block, rows in self.parts:
            contents = block.contents()
            found += contents if rows is None else [contents[row] for row in rows]
        return found


def part_keys(file: str) -> npt.NDArray[np.uint64]:
    """Of each passage of a corpus file [n, 4]: the key of its text, and that of its row."""
    parquet = pq.ParquetFile(opened(location(file)))
    found = [np.empty((0, 4), np.uint64)]
    for group in range(parquet.num_row_groups):
        rows = _read(parquet, group)
        found.append(np.concatenate([text_keys(_contents(rows)), row_keys(rows)], axis=1))
    return np.concatenate(found)


def digest(keys: Keys) -> str:
    """Equal for equal keys in the same order."""
    return blake2b(np.ascontiguousarray(keys).tobytes(), digest_size=12).hexdigest()


def plan(corpus: Location, block_rows: int, shards: int, last: Shares | None = None) -> list[CorpusBlock]:
    """The corpus in blocks, in order; small enough that every shard has some and progress is seen.

    They stay as large as in the `last` index where that still does, so that those of files that did not change stay
    what they are, however many passages have come or gone.
    """
    counts = {str(file): pq.read_metadata(opened(file)).num_rows for file in corpus_files(corpus)}
    if not sum(counts.values()):
        raise WbragError(f"expected a corpus in {corpus}, found no passages: run `wbrag ingest corpus PATH` first")
    size = max(1, min(block_rows, -(-sum(counts.values()) // (shards * 8))))
    if last and size <= 2 * (before := _block_size(last)) and before <= min(block_rows, 2 * size):
        size = before
    return [
        CorpusBlock(file, start, min(start + size, count))
        for file, count in counts.items()
        for start in range(0, count, size)
    ]


def _block_size(shares: Shares) -> int:
    """Rows of the blocks of an index; 0 where no file of its corpus had two of them."""
    starts: dict[str, list[int]] = {}
    for file, start in chain.from_iterable(shares):
        starts.setdefault(file, []).append(start)
    return min((two - one for mine in starts.values() for one, two in pairwise(sorted(mine))), default=0)


def new_pieces(blocks: Sequence[CorpusBlock], keys: Keys, known: npt.NDArray[np.bool_], most: int) -> Iterator[Piece]:
    """What is to be embedded of `blocks`, whose passages have these keys, in their order; `most` passages of several.

    A block of which nothing is known is embedded as it is, whatever is new beside it: in bfloat16 vectors depend a
    little on what is encoded with them.
    """
    rest: list[tuple[CorpusBlock, tuple[int, ...]]] = []
    kept: list[Keys] = []
    start = 0
    for block in blocks:
        own, there = keys[start : start + block.rows], known[start : start + block.rows]
        start += block.rows
        if there.all():
            continue
        if not there.any():
            yield Piece(((block, None),), own)
            continue
        rows = np.flatnonzero(~there)
        rest.append((block, tuple(rows.tolist())))
        kept.append(own[rows])
        if sum(map(len, kept)) >= most:
            yield Piece(tuple(rest), np.concatenate(kept))
            rest, kept = [], []
    if rest:
        yield Piece(tuple(rest), np.concatenate(kept))


def assign(blocks: Sequence[CorpusBlock], shards: int) -> list[list[CorpusBlock]]:
    """Consecutive blocks to shards, as even as blocks allow; never an empty shard."""
    count = min(shards, len(blocks))
    return [list(blocks[len(blocks) * i // count : len(blocks) * (i + 1) // count]) for i in range(count)]


def share(blocks: Sequence[CorpusBlock], shards: int, last: Shares | None) -> list[list[CorpusBlock]]:
    """Blocks to shards, each to the one where its rows were in the `last` index, so that the others stay as they are.

    Blocks of new files go to the smallest. Where that leaves a shard empty, or much larger than the mean, or the number
    of shards is another, all are assigned anew.
    """
    if last is None or len(last) != min(shards, len(blocks)):
        return assign(blocks, shards)
    before: dict[str, list[tuple[int, int]]] = {}
    for number, mine in enumerate(last):
        for file, start in mine:
            before.setdefault(file, []).append((start, number))
    found: list[list[CorpusBlock]] = [[] for _ in last]
    sizes: Counter[int] = Counter()
    for block in blocks:
        file, start = block.place
        places = [number for first, number in sorted(before.get(file, ())) if first <= start]
        number = places[-1] if places else min(range(len(last)), key=lambda n: (sizes[n], n))
        found[number].append(block)
        sizes[number] += block.rows
    if not all(found) or max(sizes.values()) > UNEVEN * sum(sizes.values()) / len(last):
        return assign(blocks, shards)
    return found


def _read(parquet: pq.ParquetFile, group: int) -> pa.Table:
    """A row group as a shard keeps it: the groups of a passage as its access list."""
    there = set(parquet.schema_arrow.names)
    rows = parquet.read_row_group(group, columns=[*COLUMNS, *(name for name in LABELS if name in there)])
    if "groups" in there:
        lists = (access_of(groups or ()) or None for groups in rows["groups"].to_pylist())
        rows = rows.drop_columns("groups").append_column("access", pa.array(lists, pa.string()))
    return rows


def _contents(rows: pa.Table) -> list[str]:
    return [f"{title}\n{text}" for title, text in zip(rows["title"].to_pylist(), rows["text"].to_pylist())]
