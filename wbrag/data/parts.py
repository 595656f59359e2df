"""Corpus parts: the Parquet files of a corpus, whose columns are a passage's fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.io.schemas import schema_of
from wbrag.core.types import Passage

LABELS = ("groups", "metadata")  # columns of those files alone that hold a passage with one
CORPUS_SCHEMA = pa.schema([column for column in schema_of(Passage) if column.name not in LABELS])
ROW_GROUP = 4096  # index.block_rows: a block of an index build is read without the rest of its file


def write_part(folder: Path, number: int, passages: Sequence[Passage]) -> None:
    """One file of the corpus."""
    write_rows(folder / f"part-{number:05d}.parquet", part_of(passages))


def part_of(passages: Sequence[Passage]) -> pa.Table:
    """The rows of `passages`, with those columns of `LABELS` that one of them has."""
    columns = {name: [getattr(passage, name) for passage in passages] for name in CORPUS_SCHEMA.names}
    table = pa.table(columns, CORPUS_SCHEMA)
    if any(passage.groups for passage in passages):
        table = table.append_column("groups", pa.array([p.groups or None for p in passages], pa.list_(pa.string())))
    if any(passage.metadata for passage in passages):
        texts = [json.dumps(p.metadata, ensure_ascii=False) if p.metadata else None for p in passages]
        table = table.append_column("metadata", pa.array(texts, pa.string()))
    return table


def write_rows(file: Path, rows: pa.Table) -> None:
    """A file of the corpus, in row groups that are read one by one."""
    pq.write_table(rows, file, compression="zstd", row_group_size=ROW_GROUP)
