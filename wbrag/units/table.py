"""Unit table: every unit ever written, in a Delta table with its provenance and its vector.

A unit's id is the hash of its contents, so writing one again adds nothing; a near-duplicate (cosine of the vectors
from `near_duplicate`) is merged into the unit that was there first (`wbrag.units.merging`).

A row is read by columns, by ids or in blocks: a million units as Python objects would be tens of gigabytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import CommitFailedError

from wbrag.core.errors import WbragError
from wbrag.core.io.append_log import KEPT_H, MANY_FILES
from wbrag.core.io.delta import ONCE, Values, append, delta_errors, durable, scan, table_at
from wbrag.core.io.files import Location, locked
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Vectors
from wbrag.units.merging import merge_units
from wbrag.units.stored import UNIT_COLUMNS, UNITS, StoredUnit, rows_of, stored_of, units_of, vectors_of

# delta-rs would delete what its clock finds 30 days old: versions that releases pin, all at once after a jump.
KEEP_VERSIONS = {"delta.enableExpiredLogCleanup": "false"}
BLOCK = 10_000  # units that are Python objects at a time: some 30 MB, and 15 MB of vectors
ROWS = 4096  # of one piece of a scan, vectors included


@dataclass(frozen=True)
class Merged:
    """What became of a batch: units added, and how many went into one that was there."""

    new: list[StoredUnit]
    merged: int


class UnitTable:
    """The units table at `folder`."""

    def __init__(self, folder: Location) -> None:
        self.folder = folder

    @property
    def version(self) -> int:
        """The Delta version that a release pins; -1 before the first unit."""
        table = table_at(self.folder)
        return table.version() if table else -1

    # -- reading; `version`: as of then, -1 for nothing ---------------------------------------------------------

    def ids(self, version: int | None = None) -> list[str]:
        """The ids of all units, in order."""
        found: list[str] = self.table(["id"], version=version)["id"].to_pylist()
        return found

    def units(self, ids: Collection[str] | None = None, version: int | None = None) -> list[Unit]:
        """The units that `ids` name, or all, in the order of their ids."""
        return units_of(self.table(UNIT_COLUMNS, ids, version))

    def read(self, ids: Collection[str] | None = None, version: int | None = None) -> list[StoredUnit]:
        """The same, each with its vector."""
        return stored_of(self.table(None, ids, version))

    def blocks(self, ids: Sequence[str], version: int | None = None, size: int = BLOCK) -> Iterator[list[StoredUnit]]:
        """`read(ids)` in blocks of `size`, in the order of `ids`, which are sorted."""
        for start in range(0, len(ids), size):
            yield self.read(ids[start : start + size], version)

    def unit_blocks(self, ids: Sequence[str], size: int = BLOCK) -> Iterator[list[Unit]]:
        """`units(ids)` in blocks of `size`, in the order of `ids`, which are sorted."""
        for start in range(0, len(ids), size):
            yield self.units(ids[start : start + size])

    def table(
        self,
        columns: Sequence[str] | None = None,
        ids: Collection[str] | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows, or some of their columns, as they are kept; in the order of their ids where these are read."""
        any_of = None if ids is None else {"id": pa.array(sorted(ids), pa.string())}
        found = pa.Table.from_batches(*self._scanned(columns, any_of, version))
        return found.sort_by("id") if "id" in found.column_names else found

    def scanned(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows in pieces and in no order, so that never more than a few pieces are in memory."""
        yield from self._scanned(columns, None, None)[0]

    def _scanned(
        self, columns: Sequence[str] | None, any_of: Values | None, version: int | None
    ) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
        wanted = UNITS if columns is None else pa.schema([UNITS.field(name) for name in columns])
        table = None if version == -1 else table_at(self.folder, version)
        if table is None:
            return iter(()), wanted
        return scan(table, self.folder, wanted, any_of, ROWS), wanted

    def vectors(self, ids: Collection[str]) -> dict[str, Vectors]:
        """The vectors [d] of the units that `ids` name, of those that are there."""
        found = self.table(["id", "vector"], ids)
        return dict(zip(found["id"].to_pylist(), vectors_of(found), strict=True))

    def of_another_encoder(self, encoder: str, version: int | None = None) -> list[str]:
        """The ids of units whose vectors another encoder made."""
        found = self.table(["id", "encoder"], version=version)
        ids: list[str] = found.filter(pc.not_equal(pc.fill_null(found["encoder"], ""), encoder))["id"].to_pylist()
        return ids

    # -- writing ------------------------------------------------------------------------------------------------

    def add(
        self,
        units: Sequence[Unit],
        vectors: Vectors,
        encoder: str,
        near_duplicate: float,
        closed: Collection[str] = (),
    ) -> Merged:
        """Merge `units` (with `vectors` [n, d] of their contents) into the shelf in one commit.

        No near-duplicate goes into a unit of `closed` (rejected, retired or stale); the same text, written again, takes
        its place there with the new provenance.
        """
        with locked(self.folder.with_suffix(".lock")):
            version = self.version
            stock = self._alike(units, version)
            before = {s.unit.id: s.unit for s in stock}
            after, merged = merge_units(stock, list(zip(units, vectors)), near_duplicate, closed)
            new = [s for s in after if s.unit.id not in before]
            changed = [s for s in after if s.unit.id in before and before[s.unit.id] != s.unit]
            self._write(new, changed, encoder, version)
        return Merged(new, merged)

    def _alike(self, units: Sequence[Unit], version: int) -> list[StoredUnit]:
        """What these may go into: the same texts, and those of one title."""
        any_of = {name: pa.array(sorted({getattr(u, name) for u in units}), pa.string()) for name in ("id", "title")}
        return stored_of(pa.Table.from_batches(*self._scanned(None, any_of, version)).sort_by("id"))

    def embed_again(self, ids: Sequence[str], vectors: Vectors, encoder: str) -> None:
        """Give these units the vectors [n, d] of another encoder."""
        with locked(self.folder.with_suffix(".lock")):
            version, given = self.version, dict(zip(ids, vectors, strict=True))
            now = self.read(ids, version)  # what others wrote meanwhile stays
            self._write([], [replace(s, vector=given[s.unit.id]) for s in now], encoder, version)

    def tidy(self, pinned: Sequence[int], files: int = MANY_FILES) -> bool:
        """Where the units lie in `files` or more, put them in few, and remove what no `pinned` version names.

        Returns whether it did. Who reads for an hour is not disturbed; another's commit in between is no error.
        """
        with locked(self.folder.with_suffix(".lock")):
            table = table_at(self.folder)
            if table is None or len(table.file_uris()) < files:
                return False
            keep = [
                version for version in sorted(set(pinned)) if 0 <= version <= table.version() and self._reads(version)
            ]
            with delta_errors("write", self.folder), durable(self.folder), suppress(CommitFailedError):
                table.optimize.compact()
                keep.append(table.version())
                table.vacuum(KEPT_H, dry_run=False, enforce_retention_duration=False, keep_versions=keep)
        return True

    def _reads(self, version: int) -> bool:
        """Whether a version is there: a table that was made anew after a power loss begins at 0 again."""
        try:
            return table_at(self.folder, version) is not None
        except WbragError:
            return False

    def _write(self, new: Sequence[StoredUnit], changed: Sequence[StoredUnit], encoder: str, version: int) -> None:
        """As the commit that follows `version`, from which both were worked out; new units alone rewrite no other."""
        if not new and not changed:
            return
        rows = rows_of([*new, *changed], encoder)
        table = None if version == -1 else table_at(self.folder, version)
        if table is None:
            append(self.folder, rows, after=-1, configuration=KEEP_VERSIONS)
            return
        known = {field.name for field in table.schema().fields}
        later = [name for name in rows.column_names if name not in known]  # an older table has fewer columns
        if not any(any(rows[name].to_pylist()) for name in later):
            rows, later = rows.drop_columns(later), []
        if not changed:
            append(self.folder, rows, after=version)
            return
        with delta_errors("write", self.folder), durable(self.folder):
            merge = table.merge(
                rows,
                "target.id = source.id",
                source_alias="source",
                target_alias="target",
                merge_schema=bool(later),
                commit_properties=ONCE,
            )
            merge.when_matched_update_all().when_not_matched_insert_all().execute()
