"""Unit library: from the rows that enrichment wrote to units that may be published, with a row for every step.

Nothing is edited in place. Models are asked through `Models`, so that the library knows nothing of where they run.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from wbrag.core.config import Config
from wbrag.core.errors import WbragError
from wbrag.core.types import Example, Generator, Hit, Unit
from wbrag.enrich.rows import Run, unit_of
from wbrag.generators import generator_fingerprint
from wbrag.retrieval.encoder import Vectors, encoder_fingerprint
from wbrag.units.checking import Checking
from wbrag.units.decisions import State
from wbrag.units.freshness import GROWN, grown_of, stale
from wbrag.units.layout import Layout
from wbrag.units.releases import now
from wbrag.units.stored import JUDGED, StoredUnit

log = logging.getLogger(__name__)
LOOKED_AT = 50_000  # units whose sources are looked up together: each look reads the corpus once
EMBEDDED = 50_000  # units that get the vectors of another encoder in one commit, which rewrites the table


class Models(Protocol):
    """What the library asks of models: those of a job (`wbrag.executor.runner`), or of the endpoint."""

    def embed(self, contents: Sequence[str]) -> Vectors:
        """Passages to vectors [n, d]."""
        ...

    def nearest(self, units: Sequence[StoredUnit]) -> Mapping[str, Sequence[Hit]]:
        """The base passages nearest to each unit, best first, by the unit's id."""
        ...


class JobModels(Models, Protocol):
    """A job's models, which refreshing and learning need."""

    def generator(self) -> Generator: ...

    def distil(self, examples: Sequence[Example], *, round_trip: bool = False, witnessed: bool = False) -> Run:
        """A unit for each example, from `metadata["documents"]`."""
        ...


class Library:
    """The units of a workspace."""

    def __init__(self, layout: Layout, models: Models, *, progress: bool = False) -> None:
        self.layout, self.models = layout, models
        self.checking = Checking(layout, progress=progress)

    @property
    def config(self) -> Config:
        return self.layout.config

    def shelve(self, rows: Iterable[Mapping[str, Any]], config_fingerprint: str, **scores: float) -> dict[str, int]:
        """Put the units of accepted `rows` on the shelf, where they are candidates; only new ones are embedded.

        Those that a judge let in, and not a label, are marked so.
        """
        if self.config.enrich.gate_metric == "judge":
            scores |= {JUDGED: 1.0}
        writer = self.config.for_distiller()
        made_with = {
            "model": f"{writer.generator.model}@{generator_fingerprint(writer)}",
            "prompt_version": self.layout.prompt_version(),
            "config_fingerprint": config_fingerprint,
            "created_at": now(),
        }
        units = sorted(((str(row["id"]), unit_of(row, **made_with)) for row in rows), key=lambda pair: pair[0])
        return self._add([replace(unit, scores={**unit.scores, **scores}) for _, unit in units])

    def _add(self, units: Sequence[Unit]) -> dict[str, int]:
        if not units:
            return {"units_new": 0, "units_merged": 0}
        self.embed_again()
        known = self.layout.shelf.vectors({u.id for u in units})
        fresh = list({u.id: u for u in units if u.id not in known}.values())
        if fresh:
            known |= {u.id: vector for u, vector in zip(fresh, self.models.embed([u.contents for u in fresh]))}
        encoder = encoder_fingerprint(self.config.encoder)
        matrix = np.array([known[u.id] for u in units])
        closed = {id for id, state in self.layout.decisions.states().items() if state not in ("candidate", "approved")}
        result = self.layout.shelf.add(units, matrix, encoder, self.config.publish.near_duplicate, closed)
        self._reopen({u.id for u in units})
        return {"units_new": len(result.new), "units_merged": result.merged}

    def _reopen(self, written: set[str]) -> None:
        """Units that freshness closed, and that came out alike when they were written again, are candidates again."""
        last = self.layout.decisions.latest(written)
        back = [id for id in written if id in last and last[id].policy == "freshness" and last[id].state != "candidate"]
        why, only = "written again from the present sources", ["stale", "retired"]
        self.layout.decisions.decide(sorted(back), "candidate", by="wbrag", why=why, policy="freshness", only=only)  # type: ignore[arg-type]

    def embed_again(self) -> None:
        """Give units the present encoder's vectors, where they have those of another."""
        encoder = encoder_fingerprint(self.config.encoder)
        old = self.layout.shelf.of_another_encoder(encoder)
        for start in range(0, len(old), EMBEDDED):
            some = old[start : start + EMBEDDED]
            contents = [unit.contents for unit in self.layout.shelf.units(some)]
            self.layout.shelf.embed_again(some, self.models.embed(contents), encoder)

    # -- checks and decisions -----------------------------------------------------------------------------------

    def check(self, ids: Collection[str] | None = None) -> dict[str, Any]:
        """Run the checks on units that wait and were not examined as they, their sources and the settings are now.

        `ids`: on these units, examined or not.
        """
        self.embed_again()
        todo = self.checking.unexamined() if ids is None else self.checking.known(ids)
        if todo:
            self.checking.examine(todo, self.models.nearest)
        return {"checked": len(todo), **self.checking.summary()}

    def unexamined(self, ids: Collection[str] | None = None) -> list[StoredUnit]:
        """See `Checking.unexamined`; `ids`: these units, examined or not."""
        return self.layout.shelf.read(self.checking.unexamined() if ids is None else self.checking.known(ids))

    def examine(self, todo: Sequence[StoredUnit], near: Mapping[str, Sequence[Hit]]) -> None:
        """The checks over `todo`, whose nearest base passages are `near` by unit, and a row for each."""
        self.checking.examine([s.unit.id for s in todo], lambda block: {s.unit.id: near[s.unit.id] for s in block})

    def approve_what_passed(self) -> int:
        """See `Checking.approve_what_passed`."""
        return self.checking.approve_what_passed()

    def decide(self, ids: Sequence[str], state: State, *, by: str, why: str) -> int:
        """A person's decision; unknown units are named."""
        self.checking.known(ids)
        return len(self.layout.decisions.decide(ids, state, by=by, why=why))

    def mark_stale(self) -> int:
        """Candidates and approved units whose sources changed or whose time is up; how many that are."""
        states = self.layout.decisions.states()
        live = [id for id in self.layout.shelf.ids() if states.get(id, "candidate") in ("candidate", "approved")]
        why, there, present = dict[str, str](), False, datetime.now(UTC)
        for start in range(0, len(live), LOOKED_AT):
            grown = grown_of(self.layout.shelf.table(GROWN, live[start : start + LOOKED_AT]))
            hashes = self.layout.content_hashes({id for unit in grown for id, _ in unit.sources})
            there = there or bool(hashes)
            why |= stale(grown, hashes, now=present, ttl_days=self.config.checks.ttl_days)
        if live and not there:
            raise WbragError(
                f"expected the corpus that {len(live)} units were distilled from, found none of their sources: check it"
            )
        only: list[State] = ["candidate", "approved"]
        self.layout.decisions.decide(list(why), "stale", by="wbrag", why=why, policy="freshness", only=only)
        return len(why)
