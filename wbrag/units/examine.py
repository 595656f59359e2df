"""Check runner: the checks over stored units, each with its sources, its nearest passages and its nearest units.

Of two units that repeat or contradict each other, the first by id may stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Hit, Passage, Unit
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.retriever import Base, ShardSearcher
from wbrag.units.checks import CheckInput, CheckResult, Neighbour, Nli, Voice, passed, run
from wbrag.units.checks.sources import passage_trust
from wbrag.units.decisions import State
from wbrag.units.neighbours import Neighbours, matrix
from wbrag.units.stored import StoredUnit

BLOCK = 256  # units that are searched for at once
NEAREST = 10  # passages and units that a unit is compared with
SHOWN = pa.schema([(name, pa.string()) for name in ("id", "title", "text")])


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


class Text(NamedTuple):
    """What is read of a unit that another is compared with."""

    id: str
    title: str
    text: str


class Texts:
    """Those of units by their place: of the ones that stand as Arrow keeps them, and of the ones that join them."""

    def __init__(self, standing: pa.Table) -> None:
        # Of a million units the texts are more than the 2 GB that a string array holds.
        self._columns = [standing[name].cast(pa.large_string()).combine_chunks() for name in Text._fields]
        self._count, self._joined = len(standing), list[Text]()

    def __getitem__(self, place: int) -> Text:
        if place >= self._count:
            return self._joined[place - self._count]
        return Text(*(column[place].as_py() for column in self._columns))

    def add(self, texts: Iterable[Text]) -> None:
        self._joined += texts


class Examiner:
    """The checks on one block of units after the other, in the order of their ids.

    A unit is compared with those that stand (approved ones, and candidates that passed), and with those before it that
    passed: of two that say the same, or contradict each other, the first may stay.
    """

    def __init__(
        self,
        standing: pa.Table,
        vectors: Vectors,
        states: Mapping[str, State],
        settings: ChecksConfig,
        nli: Nli | None = None,
    ) -> None:
        """`standing` are id, title and text of those that stand, in the order of their `vectors` [n, d]."""
        self.texts, self.known, self.states = Texts(standing), Neighbours(vectors), states
        self.settings, self.nli = settings, nli

    def examine(
        self,
        waiting: Sequence[StoredUnit],
        passages: Mapping[str, Passage],
        near: Mapping[str, Sequence[Hit]],
        corpus: Mapping[str, int] | None = None,
    ) -> dict[str, list[CheckResult]]:
        """Every check on `waiting`; `passages` are the corpus's, by id, `near` as `nearest_passages` gives.

        `corpus` says how many passages each source has, None of an outside store.
        """
        found: dict[str, list[CheckResult]] = {}
        for start in range(0, len(waiting), BLOCK):
            block = waiting[start : start + BLOCK]
            vectors = matrix([s.vector for s in block], len(block[0].vector))
            within, kept = vectors @ vectors.T, list[int]()  # of this block: those that pass stand from then on
            for i, (stored, others) in enumerate(zip(block, self.known.nearest(vectors, NEAREST))):
                near_units = [(cosine, self.texts[at]) for at, cosine in others]
                near_units += [(float(within[i, j]), _text(block[j].unit)) for j in kept]
                unit, voices = stored.unit, _voices(stored.unit, passages, self.settings, corpus)
                nearest = self._neighbours(near_units, _passages(near.get(unit.id, ()), passages))
                sources = tuple(passages[id] for id, _ in unit.sources if id in passages)
                subject = CheckInput(unit, sources, nearest, voices, corpus or {})
                found[unit.id] = run(subject, self.settings, self.nli)
                if passed(found[unit.id]):
                    kept.append(i)
            self.known.add(vectors[kept])
            self.texts.add(_text(block[i].unit) for i in kept)
        return found

    def _neighbours(self, near: Sequence[tuple[float, Text]], passages: Sequence[Neighbour]) -> tuple[Neighbour, ...]:
        compared = sorted(near, key=lambda pair: -pair[0])[:NEAREST]
        units = [Neighbour(*text, cosine, "unit", state=self.states.get(text.id, "")) for cosine, text in compared]
        return tuple(sorted([*passages, *units], key=lambda n: -n.cosine))


def examine(
    stock: Iterable[StoredUnit],
    todo: Collection[str],
    stands: Mapping[str, State],
    passages: Mapping[str, Passage],
    near: Mapping[str, Sequence[Hit]],
    settings: ChecksConfig,
    nli: Nli | None = None,
    corpus: Mapping[str, int] | None = None,
) -> dict[str, list[CheckResult]]:
    """Every check on the units `todo` of a `stock` that is in memory; `stands`: those that stand, and as what."""
    stock = list(stock)
    waiting = sorted((s for s in stock if s.unit.id in todo), key=lambda s: s.unit.id)
    if not waiting:
        return {}
    standing = [s for s in stock if s.unit.id in stands and s.unit.id not in todo]
    vectors = matrix([s.vector for s in standing], len(waiting[0].vector))
    texts = pa.table([list(column) for column in zip(*(_text(s.unit) for s in standing))] or [[], [], []], SHOWN)
    examiner = Examiner(texts, vectors, stands, settings, nli)
    return examiner.examine(waiting, passages, near, corpus)


def nearest_of(pieces: Iterable[tuple[Sequence[str], Vectors]], vectors: Vectors, k: int = NEAREST) -> set[str]:
    """The ids of the `k` nearest to each of `vectors` [m, d], over pieces of ids and vectors [n, d]; and some more."""
    scores: Vectors = np.empty((len(vectors), 0), np.float32)  # [m, 2k] of what was seen so far, and their ids
    named: npt.NDArray[np.object_] = np.empty((len(vectors), 0), object)
    for ids, block in pieces:
        found = vectors @ block.T
        scores = np.hstack([scores, found])
        named = np.hstack([named, np.broadcast_to(np.array(ids, object), found.shape)])
        if scores.shape[1] > 2 * k:
            top = np.argpartition(-scores, 2 * k, axis=1)[:, : 2 * k]
            scores, named = np.take_along_axis(scores, top, 1), np.take_along_axis(named, top, 1)
    return set(named.ravel().tolist())


def _text(unit: Unit) -> Text:
    return Text(unit.id, unit.title, unit.text)


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
