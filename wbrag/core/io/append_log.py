"""Append-only log: a Delta table with a fixed schema.

Rows are added and never edited or deleted, so that the table can be read as history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from wbrag.core.io.delta import append, delta_errors, table_at
from wbrag.core.io.files import Location


class AppendLog:
    """Rows of `schema` at `folder`. A column that an older table lacks reads as None."""

    def __init__(self, folder: Location, schema: pa.Schema) -> None:
        self.folder, self.schema = folder, schema

    @property
    def version(self) -> int:
        """Raised by every append; -1 before the first."""
        table = table_at(self.folder)
        return table.version() if table else -1

    def rows(self) -> list[dict[str, Any]]:
        """Every row, in no order."""
        blank = dict.fromkeys(self.schema.names)
        return [{**blank, **row} for row in self.table().to_pylist()]

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """The rows as Arrow, or some of their columns: millions of them are counted without becoming Python's."""
        table = table_at(self.folder)
        if table is None:
            return self.schema.empty_table().select(columns or self.schema.names)
        with delta_errors("read", self.folder):
            return table.to_pyarrow_table(columns=columns)

    def select(self, where: Any) -> pa.Table:
        """The rows that meet `where`, a `pyarrow.dataset` expression."""
        table = table_at(self.folder)
        if table is None:
            return self.schema.empty_table()
        with delta_errors("read", self.folder):
            return table.to_pyarrow_dataset().to_table(filter=where)

    def append(self, rows: Iterable[Mapping[str, Any]], *, after: int | None = None) -> None:
        """All of `rows` in one commit.

        `after`: the `version` by which they were decided. Where another machine has written since, nothing is written
        and `WbragError` raised; a lock (`wbrag.core.io.files.locked`) does not reach that far in an object store.
        """
        table = pa.Table.from_pylist([dict(row) for row in rows], self.schema)
        if len(table):
            append(self.folder, table, after=after)

    def compact(self) -> None:
        """The same rows in few files: a table that is appended to every few seconds has thousands."""
        if table := table_at(self.folder):
            with delta_errors("write", self.folder):
                table.optimize.compact()
