"""Check runner: the checks over stored units, each with its sources, its nearest passages and its nearest units.

Of two units that repeat or contradict each other, the first by id may stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Hit, Passage, Unit
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.retriever import Base, ShardSearcher
from wbrag.units.checks import CheckInput, CheckResult, Neighbour, Nli, Voice, passed, run
from wbrag.units.checks.sources import passage_trust
from wbrag.units.decisions import State
from wbrag.units.table import StoredUnit

NEAREST = 10  # passages and units that a unit is compared with


async def nearest_passages(
    units: Sequence[StoredUnit], shards: Sequence[ShardSearcher], base: Base | None = None
) -> dict[str, list[Hit]]:
    """The passages nearest to each unit, best first; by the vectors on the shelf, so that no encoder is needed."""
    if not units:
        return {}
    vectors = np.array([s.vector for s in units], dtype=np.float32)
    found = [await shard.search(vectors, NEAREST) for shard in shards]
    if base is not None:
        found.append(await base.search([s.unit.contents for s in units], vectors, NEAREST))
    return {
        stored.unit.id: sorted((hit for lists in found for hit in lists[row]), key=lambda h: -h.score)[:NEAREST]
        for row, stored in enumerate(units)
    }


def examine(
    stock: Sequence[StoredUnit],
    todo: Collection[str],
    stands: Mapping[str, State],
    passages: Mapping[str, Passage],
    near: Mapping[str, Sequence[Hit]],
    settings: ChecksConfig,
    nli: Nli | None = None,
    corpus: Mapping[str, int] | None = None,
) -> dict[str, list[CheckResult]]:
    """Every check on the units `todo`, in the order of their ids.

    A unit is compared with those that stand (`stands`: approved ones, and candidates that passed), and with those
    before it that pass: of two that say the same, or contradict each other, the first may stay. `passages` are the
    corpus's, by id; `near` as `nearest_passages` gives; `corpus` says how many passages each source has, None of an
    outside store.
    """
    standing = _Standing([s for s in stock if s.unit.id in stands and s.unit.id not in todo], len(stock))
    found: dict[str, list[CheckResult]] = {}
    for stored in sorted((s for s in stock if s.unit.id in todo), key=lambda s: s.unit.id):
        unit = stored.unit
        neighbours = [*_passages(near.get(unit.id, ()), passages), *standing.nearest(stored, stands)]
        sources = tuple(passages[id] for id, _ in unit.sources if id in passages)
        nearest = tuple(sorted(neighbours, key=lambda n: -n.cosine))
        subject = CheckInput(unit, sources, nearest, _voices(unit, passages, settings, corpus), corpus or {})
        found[unit.id] = run(subject, settings, nli)
        if passed(found[unit.id]):
            standing.add(stored)
    return found


def _voices(
    unit: Unit, passages: Mapping[str, Passage], settings: ChecksConfig, corpus: Mapping[str, int] | None
) -> tuple[Voice, ...]:
    """The witnesses whose passages still say what they said; of an outside store also those it cannot be asked for."""
    found = []
    for said in unit.witnesses:
        passage = passages.get(said.passage_id)
        if passage is not None and said.sentence in passage.text:
            found.append(Voice(said, passage.source, passage_trust(passage, settings)))
        elif passage is None and corpus is None:
            found.append(Voice(said, said.passage_id, 1.0))
    return tuple(found)


def _passages(hits: Sequence[Hit], passages: Mapping[str, Passage]) -> list[Neighbour]:
    known = [(hit, passages.get(hit.id, Passage(hit.id, "", "", hit.source))) for hit in hits]
    return [Neighbour(h.id, h.title, h.text, h.score, "passage", p.updated_at, source=p.source) for h, p in known]


class _Standing:
    """Units that others are compared with, their vectors in one matrix [capacity, d] that fills up."""

    def __init__(self, units: Sequence[StoredUnit], capacity: int) -> None:
        self.units: list[StoredUnit] = []
        self.matrix: Vectors = np.empty((0, 0), np.float32)
        self.capacity = max(1, capacity)
        for stored in units:
            self.add(stored)

    def add(self, stored: StoredUnit) -> None:
        if not self.units:
            self.matrix = np.empty((self.capacity, len(stored.vector)), np.float32)
        self.matrix[len(self.units)] = stored.vector
        self.units.append(stored)

    def nearest(self, stored: StoredUnit, states: Mapping[str, State]) -> list[Neighbour]:
        if not self.units:
            return []
        cosines = self.matrix[: len(self.units)] @ stored.vector
        return [
            Neighbour(s.unit.id, s.unit.title, s.unit.text, float(cosines[i]), "unit", state=states.get(s.unit.id, ""))
            for i in np.argsort(-cosines, kind="stable")[:NEAREST]
            for s in [self.units[i]]
        ]
