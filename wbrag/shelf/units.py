"""The shelf: every unit ever written, in a Delta table with its provenance and its vector.

A unit's id is the hash of its contents, so writing one again adds nothing; a near-duplicate (cosine of the vectors
from `near_duplicate`) is merged into the unit that was there first, whose provenance then names both questions.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from wbrag.retrieval.encoder import Vectors
from wbrag.types import Evidence, Unit

_text = pa.string()
UNITS = pa.schema(
    [
        ("id", _text),
        ("title", _text),
        ("text", _text),
        ("question_ids", pa.list_(_text)),
        ("sources", pa.list_(pa.struct([("id", _text), ("content_hash", _text)]))),
        ("evidence", pa.list_(pa.struct([("passage_id", _text), ("sentence", _text)]))),
        ("scores", _text),
        ("model", _text),
        ("prompt_version", _text),
        ("config_fingerprint", _text),
        ("created_at", _text),
        ("encoder", _text),
        ("vector", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Shelved:
    """A unit as it stands on the shelf."""

    unit: Unit
    vector: Vectors  # [d]


@dataclass(frozen=True)
class Merged:
    """What became of a batch: units added, and how many went into one that was there."""

    new: list[Shelved]
    merged: int


class Shelf:
    """The units table at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def version(self) -> int:
        """The Delta version that a release pins; -1 before the first unit."""
        return DeltaTable(str(self.folder)).version() if self._exists() else -1

    def read(self, version: int | None = None) -> list[Shelved]:
        """All units, as of `version` if given, in the order of their ids."""
        return [_from_row(row) for row in self.table(version).to_pylist()]

    def table(self, version: int | None = None) -> pa.Table:
        """The rows of `read` as they are kept."""
        if not self._exists() or version == -1:
            return UNITS.empty_table()
        return DeltaTable(str(self.folder), version=version).to_pyarrow_table().sort_by("id")

    def add(
        self,
        units: Sequence[Unit],
        vectors: Vectors,
        encoder: str,
        near_duplicate: float,
        closed: Collection[str] = (),
    ) -> Merged:
        """Merge `units` (with `vectors` [n, d] of their contents) into the shelf in one commit.

        No near-duplicate goes into a unit of `closed`: what was rejected, retired or stale takes nothing in.
        """
        stock = self.read()
        before = {s.unit.id: s.unit for s in stock}
        after, merged = merge_units(stock, list(zip(units, vectors)), near_duplicate, closed)
        changed = [s for s in after if before.get(s.unit.id) != s.unit]
        if changed:
            self._upsert(pa.Table.from_pylist([_to_row(s, encoder) for s in changed], UNITS))
        return Merged([s for s in after if s.unit.id not in before], merged)

    def _upsert(self, rows: pa.Table) -> None:
        if not self._exists():
            write_deltalake(str(self.folder), rows)
            return
        merge = DeltaTable(str(self.folder)).merge(
            rows, "target.id = source.id", source_alias="source", target_alias="target"
        )
        merge.when_matched_update_all().when_not_matched_insert_all().execute()

    def _exists(self) -> bool:
        return DeltaTable.is_deltatable(str(self.folder))


def merge_units(
    stock: Sequence[Shelved],
    incoming: Sequence[tuple[Unit, Vectors]],
    near_duplicate: float,
    closed: Collection[str] = (),
) -> tuple[list[Shelved], int]:
    """`stock` with `incoming` merged in, in order; and how many of them became part of another unit.

    A unit that carries nothing new (same id, question and sources) changes nothing and is not counted as merged.
    """
    shelf = list(stock)
    position = {s.unit.id: i for i, s in enumerate(shelf)}
    matrix = np.array([np.zeros_like(s.vector) if s.unit.id in closed else s.vector for s in shelf], dtype=np.float32)
    merged = 0
    for unit, vector in incoming:
        twin = position.get(unit.id)
        if twin is None and len(shelf):
            nearest = int(np.argmax(matrix @ vector))
            # Only units with the same title: look-alike subjects lie close together and must not be mixed.
            if float(matrix[nearest] @ vector) >= near_duplicate and shelf[nearest].unit.title == unit.title:
                twin = nearest
        if twin is None:
            position[unit.id] = len(shelf)
            shelf.append(Shelved(unit, vector))
            matrix = np.vstack([matrix, vector]) if matrix.size else vector[None, :]
            continue
        both = _with_provenance(shelf[twin].unit, unit)
        if both != shelf[twin].unit:
            merged += 1
            shelf[twin] = replace(shelf[twin], unit=both)
    return shelf, merged


def _with_provenance(kept: Unit, other: Unit) -> Unit:
    """`kept` with the questions, sources and evidence of `other` added; of a source that changed, only the new."""
    before, after = dict(kept.sources), dict(other.sources)
    changed = {id for id in before.keys() & after.keys() if before[id] != after[id]}
    evidence = [e for e in kept.evidence if e.passage_id not in changed]
    return replace(
        kept,
        question_ids=tuple(dict.fromkeys((*kept.question_ids, *other.question_ids))),
        sources=tuple((before | after).items()),
        evidence=tuple(dict.fromkeys((*evidence, *other.evidence))),
        scores=other.scores if changed else kept.scores,
    )


def _to_row(shelved: Shelved, encoder: str) -> dict[str, Any]:
    u = shelved.unit
    return {
        "id": u.id,
        "title": u.title,
        "text": u.text,
        "question_ids": list(u.question_ids),
        "sources": [{"id": id, "content_hash": digest} for id, digest in u.sources],
        "evidence": [{"passage_id": e.passage_id, "sentence": e.sentence} for e in u.evidence],
        "scores": json.dumps(u.scores, sort_keys=True),
        "model": u.model,
        "prompt_version": u.prompt_version,
        "config_fingerprint": u.config_fingerprint,
        "created_at": u.created_at,
        "encoder": encoder,
        "vector": [float(x) for x in shelved.vector],
    }


def _from_row(row: dict[str, Any]) -> Shelved:
    unit = Unit(
        row["title"],
        row["text"],
        tuple(row["question_ids"]),
        tuple((s["id"], s["content_hash"]) for s in row["sources"]),
        tuple(Evidence(e["passage_id"], e["sentence"]) for e in row["evidence"]),
        json.loads(row["scores"]),
        row["model"],
        row["prompt_version"],
        row["config_fingerprint"],
        row["created_at"],
    )
    return Shelved(unit, np.asarray(row["vector"], dtype=np.float32))
