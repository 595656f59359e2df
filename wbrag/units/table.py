"""Unit table: every unit ever written, in a Delta table with its provenance and its vector.

A unit's id is the hash of its contents, so writing one again adds nothing; a near-duplicate (cosine of the vectors
from `near_duplicate`) is merged into the unit that was there first, whose provenance then names both questions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from wbrag.core.io.delta import ONCE, append, delta_errors, durable, table_at
from wbrag.core.io.files import Location, locked
from wbrag.core.io.schemas import from_row, schema_of, to_row
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Vectors

# delta-rs would delete what its clock finds 30 days old: versions that releases pin, all at once after a jump.
KEEP_VERSIONS = {"delta.enableExpiredLogCleanup": "false"}
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


@dataclass(frozen=True)
class Merged:
    """What became of a batch: units added, and how many went into one that was there."""

    new: list[StoredUnit]
    merged: int


class UnitTable:
    """The units table at `folder`."""

    def __init__(self, folder: Location) -> None:
        self.folder = folder
        self._last: tuple[int, list[StoredUnit]] = (-1, [])  # a publish asks for the same version several times

    @property
    def version(self) -> int:
        """The Delta version that a release pins; -1 before the first unit."""
        table = table_at(self.folder)
        return table.version() if table else -1

    def read(self, version: int | None = None) -> list[StoredUnit]:
        """All units, as of `version` if given, in the order of their ids."""
        version = self.version if version is None else version
        if version != self._last[0]:
            self._last = version, [_from_row(row) for row in self.table(version).to_pylist()]
        return list(self._last[1])

    def table(self, version: int | None = None) -> pa.Table:
        """The rows of `read` as they are kept."""
        table = None if version == -1 else table_at(self.folder, version)
        if table is None:
            return UNITS.empty_table()
        with delta_errors("read", self.folder):
            return table.to_pyarrow_table().sort_by("id")

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
            stock = self.read(version)
            before = {s.unit.id: s.unit for s in stock}
            after, merged = merge_units(stock, list(zip(units, vectors)), near_duplicate, closed)
            self._upsert([s for s in after if before.get(s.unit.id) != s.unit], encoder, version)
        return Merged([s for s in after if s.unit.id not in before], merged)

    def embed_again(self, stale: Sequence[StoredUnit], vectors: Vectors, encoder: str) -> None:
        """Give these units the vectors [n, d] of another encoder."""
        with locked(self.folder.with_suffix(".lock")):
            version = self.version
            now = {s.unit.id: s for s in self.read(version)}  # what others wrote meanwhile stays
            changed = [replace(now[s.unit.id], vector=vector) for s, vector in zip(stale, vectors)]
            self._upsert(changed, encoder, version)

    def _upsert(self, changed: Sequence[StoredUnit], encoder: str, version: int) -> None:
        """As the commit that follows `version`, from which `changed` was worked out."""
        if not changed:
            return
        rows = pa.Table.from_pylist([_to_row(replace(s, encoder=encoder)) for s in changed], UNITS)
        table = None if version == -1 else table_at(self.folder, version)
        if table is None:
            append(self.folder, rows, after=-1, configuration=KEEP_VERSIONS)
            return
        known = {field.name for field in table.schema().fields}
        later = [name for name in rows.column_names if name not in known]  # an older table has fewer columns
        if not any(any(rows[name].to_pylist()) for name in later):
            rows, later = rows.drop_columns(later), []
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


def merge_units(
    stock: Sequence[StoredUnit],
    incoming: Sequence[tuple[Unit, Vectors]],
    near_duplicate: float,
    closed: Collection[str] = (),
) -> tuple[list[StoredUnit], int]:
    """`stock` with `incoming` merged in, in order; and how many of them became part of another unit.

    A unit that carries nothing new (same id, question and sources) changes nothing and is not counted as merged.
    """
    shelf = list(stock)
    position = {s.unit.id: i for i, s in enumerate(shelf)}
    titled: dict[str, list[int]] = {}  # only units of one title merge: look-alike subjects lie close together
    for i, s in enumerate(shelf):
        if s.unit.id not in closed:
            titled.setdefault(s.unit.title, []).append(i)
    merged = 0
    for unit, vector in incoming:
        twin = position.get(unit.id)
        near = titled.get(unit.title, [])
        if twin is None and near:
            cosines = np.array([shelf[i].vector for i in near]) @ vector
            if cosines.max() >= near_duplicate:
                twin = near[int(np.argmax(cosines))]
        if twin is None:
            position[unit.id] = len(shelf)
            titled.setdefault(unit.title, []).append(len(shelf))
            shelf.append(StoredUnit(unit, vector))
            continue
        both = _again(shelf[twin].unit, unit) if unit.id in closed else _with_provenance(shelf[twin].unit, unit)
        if both != shelf[twin].unit:
            merged += 1
            shelf[twin] = replace(shelf[twin], unit=both)
    return shelf, merged


def _again(closed: Unit, unit: Unit) -> Unit:
    """`unit`, written once more after it was closed: only the questions are kept."""
    return replace(unit, question_ids=tuple(dict.fromkeys((*closed.question_ids, *unit.question_ids))))


def _with_provenance(kept: Unit, other: Unit) -> Unit:
    """`kept` with the questions, sources and evidence of `other` added; of a source that changed, only the new."""
    before, after = dict(kept.sources), dict(other.sources)
    changed = {id for id in before.keys() & after.keys() if before[id] != after[id]}
    evidence = [e for e in kept.evidence if e.passage_id not in changed]
    scores, heard = (other.scores | marks(kept), other.witnesses) if changed else (kept.scores, kept.witnesses)
    if not changed and "witnesses" in other.scores:  # whoever was asked for either of them counts
        asked = max(scores.get("witnesses", 0.0), other.scores["witnesses"])  # written again, it stays as it is
        scores = scores | {"witnesses": asked}
        heard = tuple({said.passage_id: said for said in (*other.witnesses, *heard)}.values())
    return replace(
        kept,
        question_ids=tuple(dict.fromkeys((*kept.question_ids, *other.question_ids))),
        sources=tuple((before | after).items()),
        evidence=tuple(dict.fromkeys((*evidence, *other.evidence))),
        scores=scores,
        witnesses=heard,
    )


def marks(unit: Unit) -> dict[str, float]:
    """Why only a person approves this unit; empty where labels back it."""
    return {name: unit.scores[name] for name in UNBACKED if name in unit.scores}


def _to_row(stored: StoredUnit) -> dict[str, Any]:
    row = to_row(stored)
    return {"id": stored.unit.id, **row.pop("unit"), **row}


def _from_row(row: dict[str, Any]) -> StoredUnit:
    return from_row(StoredUnit, {**row, "unit": row})
