"""A Delta table that only grows: what was written is never edited, so that it can be read as history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake


class Log:
    """Rows of `schema` at `folder`. A column that an older table lacks reads as None."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder, self.schema = folder, schema

    @property
    def version(self) -> int:
        """Raised by every append; -1 before the first."""
        return DeltaTable(str(self.folder)).version() if self._exists() else -1

    def rows(self) -> list[dict[str, Any]]:
        """Every row, in no order."""
        if not self._exists():
            return []
        blank = dict.fromkeys(self.schema.names)
        return [{**blank, **row} for row in self.table().to_pylist()]

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """The rows as Arrow, or some of their columns: millions of them are counted without becoming Python's."""
        if not self._exists():
            return self.schema.empty_table().select(columns or self.schema.names)
        return DeltaTable(str(self.folder)).to_pyarrow_table(columns=columns)

    def select(self, where: Any) -> pa.Table:
        """The rows that meet `where`, a `pyarrow.dataset` expression."""
        if not self._exists():
            return self.schema.empty_table()
        return DeltaTable(str(self.folder)).to_pyarrow_dataset().to_table(filter=where)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """All of `rows` in one commit."""
        table = pa.Table.from_pylist([dict(row) for row in rows], self.schema)
        if len(table):
            write_deltalake(str(self.folder), table, mode="append", schema_mode="merge")

    def compact(self) -> None:
        """The same rows in few files: a table that is appended to every few seconds has thousands."""
        if self._exists():
            DeltaTable(str(self.folder)).optimize.compact()

    def _exists(self) -> bool:
        return DeltaTable.is_deltatable(str(self.folder))
