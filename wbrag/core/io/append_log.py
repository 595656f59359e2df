"""Append-only log: a Delta table with a fixed schema.

Rows are added and never edited or deleted, so that the table can be read as history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import CommitFailedError

from wbrag.core.io.delta import Values, append, delta_errors, durable, scan, table_at
from wbrag.core.io.files import Location
from wbrag.core.io.schemas import from_table, schema_of, to_table

MANY_FILES = 64
KEPT_H = 1
T = TypeVar("T")


class AppendLog(Generic[T]):
    """Instances of the dataclass or NamedTuple `record` at `folder`, a column a field (`wbrag.core.io.schemas`)."""

    def __init__(self, folder: Location, record: type[T]) -> None:
        self.folder, self.record = folder, record

    @property
    def version(self) -> int:
        """Raised by every append; -1 before the first."""
        table = table_at(self.folder)
        return table.version() if table else -1

    def rows(self) -> list[T]:
        """Every record, in no order. A field that an older table has no column for takes its default."""
        return from_table(self.record, self.table())

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """The rows as Arrow, or some of their columns: millions of them are counted without becoming Python's."""
        table = table_at(self.folder)
        if table is None:
            blank = schema_of(self.record).empty_table()
            return blank.select(columns) if columns else blank
        with delta_errors("read", self.folder):
            return table.to_pyarrow_table(columns=columns)

    def select(self, column: str, values: Collection[str]) -> pa.Table:
        """The rows that have one of these `values` in this column."""
        any_of = {column: pa.array(sorted(values), pa.string())}
        return pa.Table.from_batches(self.scanned(any_of=any_of), schema_of(self.record))

    def scanned(self, columns: Sequence[str] | None = None, any_of: Values | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, or some of their columns, piece by piece; see `wbrag.core.io.delta.scan`."""
        schema = schema_of(self.record)
        wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        if table := table_at(self.folder):
            yield from scan(table, self.folder, wanted, any_of)

    def append(self, rows: Iterable[T], *, after: int | None = None) -> None:
        """All of `rows` in one commit.

        `after`: the `version` by which they were decided. Where another machine has written since, nothing is written
        and `WbragError` raised; a lock (`wbrag.core.io.files.locked`) does not reach that far in an object store.
        """
        table = to_table(self.record, rows)
        if len(table):
            append(self.folder, table, after=after)

    def next_number(self) -> int:
        """One above the highest `number` of the rows: their order, whatever the clock says and repairs begin anew."""
        highest = pc.max(self.table(["number"])["number"]).as_py()
        return 0 if highest is None else int(highest) + 1

    def compact(self) -> None:
        """The same rows in few files: a table that is appended to every few seconds has thousands."""
        if table := table_at(self.folder):
            with delta_errors("write", self.folder), durable(self.folder):
                table.optimize.compact()

    def tidy(self, files: int = MANY_FILES) -> bool:
        """Where the rows lie in `files` or more, put them in few and remove what earlier times left; whether it did.

        What was replaced within `KEPT_H` hours stays: somebody may be reading it. A commit of another that comes
        between is no error; the next time will do.
        """
        table = table_at(self.folder)
        if table is None or len(table.file_uris()) < files:
            return False
        with delta_errors("write", self.folder), durable(self.folder), suppress(CommitFailedError):
            table.optimize.compact()
            table.vacuum(retention_hours=KEPT_H, enforce_retention_duration=False, dry_run=False)
        return True
