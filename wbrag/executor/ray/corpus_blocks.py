"""Corpus blocks: the corpus in pieces that are embedded, and the pieces' shares in shards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, file_in_one_step, location, opened
from wbrag.core.io.parquet import corpus_files


@dataclass(frozen=True)
class CorpusBlock:
    """Rows [start, stop) of one corpus file: the unit of embedding."""

    file: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{location(self.file).stem}-{self.start:09d}-{self.stop:09d}.npy"

    @property
    def rows(self) -> int:
        return self.stop - self.start

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
