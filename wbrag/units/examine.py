"""Check runner: the checks over stored units, each with its sources, its nearest passages and its nearest units.

Of two units that repeat or contradict each other, the first by id may stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Hit, Passage, Unit
from wbrag.retrieval.retriever import Base, ShardSearcher
from wbrag.units.checks import CheckInput, CheckResult, Neighbour, Nli, Voice, passed, run
from wbrag.units.checks.sources import passage_trust
from wbrag.units.decisions import State
from wbrag.units.neighbours import Neighbours, matrix
from wbrag.units.table import StoredUnit

BLOCK = 256  # units that are searched for at once
NEAREST = 10  # passages and units that a unit is compared with


async def nearest_passages(
    units: Sequence[StoredUnit], shards: Sequence[ShardSearcher], base: Base | None = None
) -> dict[str, list[Hit]]:
    """The passages nearest to each unit, best first; by the vectors on the shelf, so that no encoder is needed."""
    found: dict[str, list[Hit]] = {}
    for start in range(0, len(units), BLOCK):
        block = units[start : start + BLOCK]
        vectors = matrix([s.vector for s in block], len(block[0].vector))
        searches = [shard.search(vectors, NEAREST) for shard in shards]
        if base is not None:
            searches.append(base.search([s.unit.contents for s in block], vectors, NEAREST))
        lists = await asyncio.gather(*searches)
        for row, stored in enumerate(block):
            hits = sorted((hit for mine in lists for hit in mine[row]), key=lambda h: -h.score)
            found[stored.unit.id] = hits[:NEAREST]
    return found


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
    waiting = sorted((s for s in stock if s.unit.id in todo), key=lambda s: s.unit.id)
    if not waiting:
        return {}
    dimension = len(waiting[0].vector)
    standing = [s for s in stock if s.unit.id in stands and s.unit.id not in todo]
    known = Neighbours(matrix([s.vector for s in standing], dimension))
    found: dict[str, list[CheckResult]] = {}
    for start in range(0, len(waiting), BLOCK):
        block = waiting[start : start + BLOCK]
        vectors = matrix([s.vector for s in block], dimension)
        within, kept = vectors @ vectors.T, list[int]()  # of this block: those that pass stand from then on
        for i, (stored, others) in enumerate(zip(block, known.nearest(vectors, NEAREST))):
            near_units = [(float(cosine), standing[at].unit) for at, cosine in others]
            near_units += [(float(within[i, j]), block[j].unit) for j in kept]
            unit, compared = stored.unit, sorted(near_units, key=lambda pair: -pair[0])[:NEAREST]
            neighbours = [*_passages(near.get(unit.id, ()), passages), *(_unit(*pair, stands) for pair in compared)]
            sources = tuple(passages[id] for id, _ in unit.sources if id in passages)
            nearest = tuple(sorted(neighbours, key=lambda n: -n.cosine))
            subject = CheckInput(unit, sources, nearest, _voices(unit, passages, settings, corpus), corpus or {})
            found[unit.id] = run(subject, settings, nli)
            if passed(found[unit.id]):
                kept.append(i)
        known.add(vectors[kept])
        standing += [block[i] for i in kept]
    return found


def _unit(cosine: float, unit: Unit, states: Mapping[str, State]) -> Neighbour:
    return Neighbour(unit.id, unit.title, unit.text, cosine, "unit", state=states.get(unit.id, ""))


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
