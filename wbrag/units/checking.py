"""Checking: which units wait for an examination, examinations block by block, and what the policy approves.

Results are written after every block, so that a run that is killed goes on where it was; no more units are Python
objects at a time than one block has.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.config import Config
from wbrag.core.errors import UsageError
from wbrag.core.progress import bar
from wbrag.core.types import Hit
from wbrag.units.allowance import Claim, allowed
from wbrag.units.checks.nli import open_nli
from wbrag.units.decisions import State
from wbrag.units.examine import SHOWN, Examiner, nearest_of
from wbrag.units.fingerprints import Fingerprints
from wbrag.units.layout import Layout
from wbrag.units.neighbours import matrix
from wbrag.units.stored import StoredUnit, marks, vectors_of

log = logging.getLogger(__name__)
BLOCK = 4096  # units that are examined, and written, together
LOOKED_AT = 20_000  # units whose sources are looked up together: each look reads the corpus once
FEW = 1024  # units up to which those that stand are looked through and not held
Nearest = Callable[[Sequence[StoredUnit]], Mapping[str, Sequence[Hit]]]


class Checking:
    """The checks over the units of a workspace, and the policy that approves what passed them."""

    def __init__(self, layout: Layout, *, progress: bool = False) -> None:
        self.layout, self.progress = layout, progress

    @property
    def config(self) -> Config:
        return self.layout.config

    def waiting(self) -> list[str]:
        """The ids of candidates and stale units, in order."""
        states = self.layout.decisions.states()
        return [id for id in self.layout.shelf.ids() if states.get(id, "candidate") in ("candidate", "stale")]

    def known(self, ids: Collection[str]) -> list[str]:
        """`ids` in order, each once; raises `UsageError` where one is of no unit."""
        wanted = sorted(set(ids))
        there = set(self.layout.shelf.table(["id"], wanted)["id"].to_pylist())
        if missing := [id for id in ids if id not in there]:
            raise UsageError(f"expected ids of units, found {', '.join(missing)}: `wbrag units list` shows them")
        return wanted

    def unexamined(self) -> list[str]:
        """The ids of waiting units whose examination is none, or one of other texts, sources, settings or neighbours.

        What a unit was compared with may have gone, where it failed for that.
        """
        waiting, findings = self.waiting(), self.layout.results.findings()
        fingerprints, todo = Fingerprints(self.layout), list[str]()
        for units in self.layout.shelf.unit_blocks(waiting, LOOKED_AT):
            tags = fingerprints.of(units)
            for unit in units:
                found = findings.get(unit.id)
                compared = found is not None and not {"novelty", "conflict"}.isdisjoint(found.failed)
                if found is None or found.fingerprint != tags[unit.id] or compared:
                    todo.append(unit.id)
        return todo

    def examine(self, ids: Sequence[str], nearest: Nearest) -> None:
        """The checks over the units that `ids` name, in order, and a row for each; `nearest` finds base passages."""
        layout, states = self.layout, self.layout.decisions.states()
        findings = layout.results.findings()
        passed = [id for id in self.waiting() if id in findings and findings[id].passed]
        stands: dict[str, State] = {id: state for id, state in states.items() if state == "approved"}
        stands |= {id: "candidate" for id in passed}
        fingerprints, examiner = Fingerprints(layout), None
        corpus: dict[str, int] | None = {}
        with bar("checking units", shown=self.progress) as update:
            for number, block in enumerate(layout.shelf.blocks(ids, size=BLOCK)):
                update(number * BLOCK, len(ids))
                examiner = examiner or self._examiner(ids, block, stands)
                near = nearest(block)
                named = {id for s in block for id, _ in s.unit.sources} | {h.id for hits in near.values() for h in hits}
                named |= {said.passage_id for s in block for said in s.unit.witnesses}
                if corpus == {} and any("witnesses" in s.unit.scores for s in block):
                    corpus = layout.source_sizes()
                passages = layout.passages(named)
                found = examiner.examine(block, passages, near, corpus)
                layout.results.add(found, fingerprints.of([s.unit for s in block], passages))

    def _examiner(self, ids: Sequence[str], block: Sequence[StoredUnit], stands: Mapping[str, State]) -> Examiner:
        """Over those that stand; of few units only over the nearest to each, whatever the library holds."""
        mine, dimension = set(ids), len(block[0].vector)
        if len(ids) <= FEW:
            wanted = matrix([s.vector for s in block], dimension)
            near = nearest_of(self._vectors(stands.keys() - mine), wanted)
            table = self.layout.shelf.table([*SHOWN.names, "vector"], near)
        else:
            table = self.layout.shelf.table([*SHOWN.names, "vector"])
            table = table.filter(pc.is_in(table["id"], pa.array(sorted(stands.keys() - mine), pa.string())))
        vectors = matrix(vectors_of(table), dimension)
        checks = self.config.checks
        return Examiner(table.select(SHOWN.names), vectors, stands, checks, open_nli(checks))

    def _vectors(self, ids: Collection[str]) -> Iterator[tuple[list[str], Any]]:
        """Ids and vectors [n, d] of these units, piece by piece."""
        named = pa.array(sorted(ids), pa.string())
        for piece in self.layout.shelf.scanned(["id", "vector"]):
            found = pa.Table.from_batches([piece]).filter(pc.is_in(piece["id"], named))
            if len(found):
                yield found["id"].to_pylist(), np.stack(vectors_of(found))

    def summary(self) -> dict[str, Any]:
        """How many units wait, how many of these passed, and which checks the others failed."""
        waiting, findings = self.waiting(), self.layout.results.findings()
        found = [findings[id] for id in waiting if id in findings]
        failed = Counter(name for one in found for name in one.failed)
        return {"waiting": len(waiting), "passed": sum(one.passed for one in found), "failed": dict(failed)}

    def approve_what_passed(self) -> int:
        """The policy `checks`: every candidate that passes all of them as it is now, and that labels back."""
        findings, states = self.layout.results.findings(), self.layout.decisions.states()
        passed = [
            id
            for id in self.layout.shelf.ids()
            if states.get(id, "candidate") == "candidate" and id in findings and findings[id].passed
        ]
        fingerprints, claims = Fingerprints(self.layout), list[Claim]()
        for units in self.layout.shelf.unit_blocks(passed, LOOKED_AT):
            tags = fingerprints.of(units)
            claims += [
                Claim.of(unit) for unit in units if findings[unit.id].fingerprint == tags[unit.id] and not marks(unit)
            ]
        ids = [claim.id for claim in self._within_bounds(claims, states)]
        why = "passed every check"
        return len(
            self.layout.decisions.decide(ids, "approved", by="wbrag", why=why, policy="checks", only=["candidate"])
        )

    def _within_bounds(self, passed: Sequence[Claim], states: Mapping[str, State]) -> Sequence[Claim]:
        """Those that their sources may still be behind; how many wait for that is told."""
        times = self.config.checks.source_share
        corpus = self.layout.source_sizes() if passed and times else {}
        if not corpus or len(corpus) < 2:  # an outside store, or one source
            return passed
        approved = [id for id in self.layout.shelf.ids() if states.get(id) == "approved"]

        def standing() -> Iterator[Claim]:
            for units in self.layout.shelf.unit_blocks(approved):
                yield from map(Claim.of, units)

        named = {id for claims in (passed, standing()) for claim in claims for id in claim.drawn_from}
        found, waiting = allowed(passed, standing(), self.layout.sources_of(named), corpus, times)
        for name, count in waiting.items():
            log.warning(
                "%d units of source %r passed every check and wait for a person: its share of the library is used up "
                "(checks.source_share)",
                count,
                name,
            )
        return found
