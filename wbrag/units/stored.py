"""Stored units: a unit as it stands on the shelf, and the codec between it and its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from wbrag.core.io.schemas import from_table, schema_of, to_row
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Vectors

# Scores that mark a unit which no label backs, only a person approves: learned from served answers; let in by a judge.
FROM_TRAFFIC, JUDGED = "from_traffic", "judged"
UNBACKED = (FROM_TRAFFIC, JUDGED)


@dataclass(frozen=True)
class StoredUnit:
    """A unit as it stands on the shelf."""

    unit: Unit
    vector: Vectors  # [d]
    encoder: str = ""  # fingerprint of what made the vector


_stored = schema_of(StoredUnit)
UNITS = pa.schema([("id", pa.string()), *schema_of(Unit), _stored.field("encoder"), _stored.field("vector")])
UNIT_COLUMNS = ["id", *schema_of(Unit).names]  # without the vector, which is most of a row


def marks(unit: Unit) -> dict[str, float]:
    """Why only a person approves this unit; empty where labels back it."""
    return {name: unit.scores[name] for name in UNBACKED if name in unit.scores}


def rows_of(stored: Sequence[StoredUnit], encoder: str) -> pa.Table:
    """The rows of `stored`, as of `encoder`; vectors go from array to array, never through Python's numbers."""
    rows = [{"id": s.unit.id, **to_row(s.unit), "encoder": encoder} for s in stored]
    table = pa.Table.from_pylist(rows, pa.schema([field for field in UNITS if field.name != "vector"]))
    ends = np.cumsum([0, *(len(s.vector) for s in stored)], dtype=np.int32)
    numbers = np.concatenate([np.asarray(s.vector, np.float32) for s in stored]) if stored else np.empty(0, np.float32)
    return table.append_column(UNITS.field("vector"), pa.ListArray.from_arrays(pa.array(ends), pa.array(numbers)))


def vectors_of(rows: pa.Table | pa.RecordBatch) -> list[Vectors]:
    """The vector [d] of each row; parts of one array."""
    if not rows.num_rows:
        return []
    column = rows["vector"]
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    numbers = column.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))[:-1]
    return np.split(numbers.astype(np.float32, copy=False), ends)


def units_of(table: pa.Table) -> list[Unit]:
    """The unit of each row."""
    return from_table(Unit, table.select([name for name in UNIT_COLUMNS if name in table.column_names]))


def stored_of(table: pa.Table) -> list[StoredUnit]:
    """Each row as it was put on the shelf."""
    encoders = table["encoder"].to_pylist()
    return [
        StoredUnit(unit, vector, encoder or "")
        for unit, vector, encoder in zip(units_of(table), vectors_of(table), encoders, strict=True)
    ]
