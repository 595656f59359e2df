"""Row files: the folder of a run, whose rows stay as Arrow keeps them until they are looked at.

A row as Python objects is some 10 KB, as Arrow keeps it 1 to 2: a driver of 80,000 examples holds the latter.
"""

from __future__ import annotations

from collections.abc import Collection, ItemsView, Iterator, Mapping, Sequence, ValuesView
from typing import Any, overload
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.io.files import Location, file_in_one_step, listed
from wbrag.core.io.parquet import read_all
from wbrag.enrich.rows import SCHEMAS, Kind, Row

BLOCK = 512  # rows that are Python objects at a time
Place = tuple[int, int]  # of a row: its file and its number there


class StoredRows(Mapping[str, Row]):
    """The rows of a run by the ids of their examples; each is made when it is asked for, and not kept."""

    def __init__(self, tables: Sequence[pa.Table], kind: Kind) -> None:
        """A row that ended in an error counts only where no other run got it right.

        Of several that did the first by file name counts, of several that did not the last: no clock decides.
        """
        self.tables, self._blank = tables, dict.fromkeys(SCHEMAS[kind].names)
        self.places, self.errors = dict[str, Place](), dict[str, str]()  # errors: of those that ended in one
        for file, table in enumerate(tables):
            ended = zip(table["id"].to_pylist(), table["error"].to_pylist(), strict=True)
            for number, (id, error) in enumerate(ended):
                if id not in self.places or id in self.errors:
                    self.places[id] = file, number
                    self.errors.pop(id, None)
                    if error:
                        self.errors[id] = error

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __contains__(self, id: object) -> bool:
        return id in self.places

    def __getitem__(self, id: str) -> Row:
        return self.made([self.places[id]])[0]

    def values(self) -> ValuesView[Row]:
        return _Values(self)

    def items(self) -> ItemsView[str, Row]:
        return _Items(self)

    def in_order(self, ids: Sequence[str]) -> Sequence[Row]:
        """The rows of these examples."""
        return RowSequence(self, [self.places[id] for id in ids])

    def made(self, places: Sequence[Place]) -> list[Row]:
        """The rows at these places."""
        rows: list[Row] = [self._blank] * len(places)
        files, numbers = np.array(places, np.int64).reshape(-1, 2).T
        for file in np.unique(files).tolist():
            mine = np.flatnonzero(files == file)
            taken = self.tables[file].take(pa.array(numbers[mine])).to_pylist()
            for at, row in zip(mine.tolist(), taken, strict=True):
                rows[at] = self._blank | row
        return rows


class RowSequence(Sequence[Row]):
    """Rows in an order, made block by block when they are looked at; `list` keeps them."""

    def __init__(self, stored: StoredRows, places: Sequence[Place]) -> None:
        self._stored, self._places = stored, places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self._places), BLOCK):
            yield from self._stored.made(self._places[start : start + BLOCK])

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> RowSequence: ...
    def __getitem__(self, at: int | slice) -> Row | RowSequence:
        if isinstance(at, slice):
            return RowSequence(self._stored, self._places[at])
        return self._stored.made([self._places[at]])[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other))

    __hash__ = None  # type: ignore[assignment]


class _Values(ValuesView[Row]):
    def __init__(self, stored: StoredRows) -> None:
        super().__init__(stored)
        self._rows = RowSequence(stored, list(stored.places.values()))

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)


class _Items(ItemsView[str, Row]):
    def __init__(self, stored: StoredRows) -> None:
        super().__init__(stored)
        self._stored = stored

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        return zip(self._stored.places, self._stored.values(), strict=True)


def read_rows(folder: Location, kind: Kind) -> StoredRows:
    """Every finished row of a run by id; see `StoredRows`."""
    return StoredRows(read_all(listed(folder, "*.parquet")), kind)


def finished(folder: Location, among: Collection[str]) -> set[str]:
    """The ids of those examples whose row is there and ended well; nothing else of the rows is read."""
    found: set[str] = set()
    for table in read_all(listed(folder, "*.parquet"), ["id", "error"]):
        well = zip(table["id"].to_pylist(), table["error"].to_pylist(), strict=True)
        found |= {id for id, error in well if id in among and not error}
    return found


def write_rows(folder: Location, kind: Kind, rows: Sequence[Mapping[str, Any]], name: str | None = None) -> None:
    """Add `rows` to the output folder as one file, which takes the place of an earlier one of the same `name`."""
    with file_in_one_step(folder / f"{name or uuid4().hex}.parquet") as scratch:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], SCHEMAS[kind]), scratch, compression="zstd")
