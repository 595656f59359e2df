"""Merging: units that say the same become one, whose provenance names the questions and sources of both.

Only units of one title merge (look-alike subjects lie close together), from a cosine of their vectors on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Vectors
from wbrag.units.stored import StoredUnit, marks


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
    titled: dict[str, list[int]] = {}
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
