"""Labels of a shard: the access list and the metadata of each passage, and which of them a request may be shown.

Two files beside the passages, row for row, each there only where some passage has one. What is looked for is told on
the distinct values of a column, so that a filter costs Python as many steps as there are values, not passages.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.allowed import Allowed
from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location

ACCESS, METADATA = "access.arrow", "metadata.arrow"
TYPES = {"access": pa.string(), "metadata": pa.map_(pa.string(), pa.string())}  # of metadata each value as JSON
KEPT = 32  # sets of visible passages of a shard that are kept, a bit a passage each
FIELDS = 8  # fields of the metadata whose values are kept, four bytes a passage each

Mask = npt.NDArray[np.bool_]


class Visible(NamedTuple):
    """The passages of a shard that a request may be shown: how many, and a bit for each, the first the lowest."""

    shown: int
    bits: npt.NDArray[np.uint8]

    def mask(self, rows: int) -> Mask:
        return np.unpackbits(self.bits, count=rows, bitorder="little").view(bool)

    def rows(self, rows: int) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self.mask(rows))


class Writer:
    """Writes the labels of a shard as its blocks come; a block without any has nulls."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack, self.count = folder, stack, 0
        self.open: dict[str, Any] = {}

    def write(self, block: pa.Table) -> None:
        """The labels of the passages in `block`, columns `access` and `metadata` (JSON objects) where there are."""
        for name, kind in TYPES.items():
            column = block[name] if name in block.column_names else None
            if column is not None and column.null_count < len(column) and name not in self.open:
                schema = pa.schema([(name, kind)])
                sink = self.stack.enter_context(pa.OSFile(str(self.folder / f"{name}.arrow"), "wb"))
                self.open[name] = self.stack.enter_context(pa.ipc.new_file(sink, schema))
                self.open[name].write_table(pa.table([pa.nulls(self.count, kind)], schema))
            if name in self.open:
                values = pa.nulls(len(block), kind) if column is None else _typed(name, column)
                self.open[name].write_table(pa.table({name: values}))
        self.count += len(block)


def _typed(name: str, column: pa.ChunkedArray) -> Any:
    if name == "access":
        return column
    found = ((json.loads(text) if text else None) for text in column.to_pylist())
    maps = [None if one is None else [(field, json.dumps(value)) for field, value in one.items()] for one in found]
    return pa.array(maps, TYPES["metadata"])


class Labels:
    """The labels of a shard of `rows` passages in `folder`, mapped from disk where it is local."""

    def __init__(self, folder: Location, rows: int) -> None:
        self.rows = rows
        self.access, self.metadata = _column(folder / ACCESS, rows), _column(folder / METADATA, rows)
        self._known: dict[Allowed, Visible | None] = {}
        self._fields: dict[str, tuple[pa.Array, npt.NDArray[np.int32]]] = {}
        self._lock = threading.Lock()

    def visible(self, allowed: Allowed) -> Visible | None:
        """What of the shard may be shown; None for all of it."""
        if not allowed.filter and (allowed.groups is None or self.access is None):
            return None
        with self._lock:
            if allowed not in self._known:
                self._known[allowed] = self._look(allowed)
                _let_go(self._known, KEPT)
            return self._known[allowed]

    def of(self, row: int) -> tuple[str, dict[str, str]]:
        """The access list of a passage, and its metadata."""
        access = self.access[row].as_py() if self.access is not None else None
        metadata = self.metadata[row].as_py() if self.metadata is not None else None
        return access or "", dict(metadata or ())

    def metadata_of(self, row: int) -> dict[str, Any] | None:
        """The metadata of a passage, None for none."""
        return {field: json.loads(value) for field, value in self.of(row)[1].items()} or None

    def _look(self, allowed: Allowed) -> Visible | None:
        mask = np.ones(self.rows, bool)
        if allowed.groups is not None and self.access is not None:
            mask &= _where(*self._values("", lambda: self.access), allowed.may, missing=True)
        for field, test in allowed.tests().items():
            if self.metadata is None:
                mask[:] = False
                break
            values = self._values(field, partial(pc.map_lookup, self.metadata, field, "first"))
            mask &= _where(*values, test, missing=False)
        count = int(mask.sum())
        return None if count == self.rows else Visible(count, np.packbits(mask, bitorder="little"))

    def _values(self, field: str, read: Callable[[], Any]) -> tuple[pa.Array, npt.NDArray[np.int32]]:
        """The distinct values of a field, and which of them each passage has; -1 for none."""
        if field not in self._fields:
            column = read()
            if isinstance(column, pa.ChunkedArray):
                column = column.cast(pa.large_string()).combine_chunks()  # together they may be more than 2 GB
            coded = column.dictionary_encode()
            codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
            self._fields[field] = coded.dictionary, codes
            _let_go(self._fields, FIELDS)
        return self._fields[field]


def labels_of(folder: Location, rows: int) -> Labels | None:
    """The labels in a shard's folder, where it has some; a filter finds nothing in one that has none."""
    return Labels(folder, rows) if (folder / ACCESS).is_file() or (folder / METADATA).is_file() else None


def _where(values: pa.Array, codes: npt.NDArray[np.int32], test: Callable[[str], bool], missing: bool) -> Mask:
    passes = np.array([*(test(value) for value in values.to_pylist()), missing], bool)  # -1 is the last
    found: Mask = passes[codes]
    return found


def _column(file: Location, rows: int) -> Any:
    if not file.is_file():
        return None
    source = pa.memory_map(str(file)) if isinstance(file, Path) else file.open_arrow()
    column = pa.ipc.open_file(source).read_all().column(0)
    if len(column) != rows:
        raise WbragError(f"expected {rows} rows in {file}, found {len(column)}: run `wbrag index` again")
    return column


def _let_go(kept: dict[Any, Any], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]
