"""Unit library: from the rows that enrichment wrote to units that may be published, with a row for every step.

Nothing is edited in place. Models are asked through `Models`, so that the library knows nothing of where they run.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from wbrag.core.config import Config
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.fingerprint import deciding, fingerprint
from wbrag.core.io.files import model_contents
from wbrag.core.progress import bar
from wbrag.core.types import Example, Generator, Hit, Unit, content_hash
from wbrag.enrich.rows import Run, unit_of
from wbrag.generators import generator_fingerprint
from wbrag.retrieval.encoder import Vectors, encoder_fingerprint
from wbrag.retrieval.external import state as store_state
from wbrag.units.allowance import allowed
from wbrag.units.checks.nli import open_nli
from wbrag.units.decisions import State
from wbrag.units.examine import examine
from wbrag.units.freshness import stale
from wbrag.units.layout import Layout
from wbrag.units.releases import now
from wbrag.units.table import JUDGED, StoredUnit, marks

log = logging.getLogger(__name__)
CHECKS_VERSION = 2  # raised whenever the checks would find something else under the same settings


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
        self.layout, self.models, self.progress = layout, models, progress

    @property
    def config(self) -> Config:
        return self.layout.config

    def shelve(self, rows: Sequence[Mapping[str, Any]], config_fingerprint: str, **scores: float) -> dict[str, int]:
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
        units = [unit_of(row, **made_with) for row in sorted(rows, key=lambda row: str(row["id"]))]
        return self._add([replace(unit, scores={**unit.scores, **scores}) for unit in units])

    def _add(self, units: Sequence[Unit]) -> dict[str, int]:
        if not units:
            return {"units_new": 0, "units_merged": 0}
        self.embed_again()
        known = {s.unit.id: s.vector for s in self.layout.shelf.read()}
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
        last = self.layout.decisions.latest()
        back = [id for id in written if id in last and last[id].policy == "freshness" and last[id].state != "candidate"]
        why, only = "written again from the present sources", ["stale", "retired"]
        self.layout.decisions.decide(sorted(back), "candidate", by="wbrag", why=why, policy="freshness", only=only)  # type: ignore[arg-type]

    def embed_again(self) -> None:
        """Give units the present encoder's vectors, where they have those of another."""
        encoder = encoder_fingerprint(self.config.encoder)
        old = [s for s in self.layout.shelf.read() if s.encoder != encoder]
        if old:
            self.layout.shelf.embed_again(old, self.models.embed([s.unit.contents for s in old]), encoder)

    # -- checks and decisions -----------------------------------------------------------------------------------

    def check(self, ids: Collection[str] | None = None) -> dict[str, Any]:
        """Run the checks on units that wait and were not examined as they, their sources and the settings are now.

        `ids`: on these units, examined or not.
        """
        self.embed_again()
        todo = self.unexamined(ids)
        if todo:
            with bar("checking units", shown=self.progress):
                self.examine(todo, self.models.nearest(todo))
        waiting, latest = self._waiting(), self.layout.results.latest()
        failed = Counter(check.name for id in waiting if id in latest for check in latest[id].failed)
        passed = sum(1 for id in waiting if id in latest and latest[id].passed)
        return {"checked": len(todo), "waiting": len(waiting), "passed": passed, "failed": dict(failed)}

    def unexamined(self, ids: Collection[str] | None = None) -> list[StoredUnit]:
        """Waiting units whose examination is none, or one of other texts, sources, settings or neighbours."""
        stock = {s.unit.id: s for s in self.layout.shelf.read()}
        if ids is not None:
            self._require_known(ids, stock)
            return [stock[id] for id in sorted(set(ids))]
        waiting, latest = self._waiting(), self.layout.results.latest()
        tags = self._fingerprints([stock[id].unit for id in waiting])

        def current(id: str) -> bool:
            """What it was compared with may have gone, where it failed for that."""
            found = latest.get(id)
            compared = found is not None and any(c.name in ("novelty", "conflict") for c in found.failed)
            return found is not None and found.fingerprint == tags[id] and not compared

        return [stock[id] for id in sorted(waiting) if not current(id)]

    def examine(self, todo: Sequence[StoredUnit], near: Mapping[str, Sequence[Hit]]) -> None:
        """The checks over `todo`, whose nearest base passages are `near`, and a row for each unit."""
        stock, states, latest = self.layout.shelf.read(), self.layout.decisions.states(), self.layout.results.latest()
        stands: dict[str, State] = {id: state for id, state in states.items() if state == "approved"}
        stands |= {id: "candidate" for id in self._waiting() if id in latest and latest[id].passed}
        named = {id for s in todo for id, _ in s.unit.sources} | {hit.id for hits in near.values() for hit in hits}
        named |= {said.passage_id for s in todo for said in s.unit.witnesses}
        passages, ids = self.layout.passages(named), {s.unit.id for s in todo}
        corpus = self.layout.source_sizes() if any("witnesses" in s.unit.scores for s in todo) else {}
        checks = self.config.checks
        found = examine(stock, ids, stands, passages, near, checks, open_nli(checks), corpus)
        self.layout.results.add(found, self._fingerprints([s.unit for s in todo]))

    def _waiting(self) -> set[str]:
        states = self.layout.decisions.states()
        return {
            s.unit.id for s in self.layout.shelf.read() if states.get(s.unit.id, "candidate") in ("candidate", "stale")
        }

    def _fingerprints(self, units: Sequence[Unit]) -> dict[str, str]:
        """What an examination of each unit depends on: its provenance, its sources, the settings and what stands."""
        if not units:
            return {}
        states, c = self.layout.decisions.states(), self.config.checks
        stands = content_hash(" ".join(sorted(id for id, state in states.items() if state == "approved")))
        model = Path(c.nli_model).expanduser() if c.nli_model else None
        nli = model_contents(model) if model and model.is_dir() else c.nli_model
        settings = deciding(c, exclude=("policy", "ttl_days", "nli_model", "source_share"))
        common = fingerprint(
            CHECKS_VERSION, settings, nli, self.layout.base_row()[1], *store_state(self.config), stands
        )
        passages = self.layout.passages({id for unit in units for id, _ in unit.sources})

        def tag(unit: Unit) -> str:
            present = [passages[id] for id, _ in unit.sources if id in passages]
            rows = [(p.content_hash, p.source, p.trust, p.updated_at) for p in present]
            heard = [list(said) for said in unit.witnesses]
            return fingerprint(common, unit.sources, unit.evidence, unit.scores, rows, *([heard] if heard else ()))

        return {unit.id: tag(unit) for unit in units}

    def approve_what_passed(self) -> int:
        """The policy `checks`: every candidate that passes all of them as it is now, and that labels back."""
        latest, states = self.layout.results.latest(), self.layout.decisions.states()
        passed = [
            s.unit
            for s in self.layout.shelf.read()
            if states.get(s.unit.id, "candidate") == "candidate"
            and s.unit.id in latest
            and latest[s.unit.id].passed
            and not marks(s.unit)
        ]
        tags = self._fingerprints(passed)
        passed = [unit for unit in passed if latest[unit.id].fingerprint == tags[unit.id]]
        ids = [unit.id for unit in self._within_bounds(passed, states)]
        why = "passed every check"
        return len(
            self.layout.decisions.decide(ids, "approved", by="wbrag", why=why, policy="checks", only=["candidate"])
        )

    def _within_bounds(self, passed: Sequence[Unit], states: Mapping[str, State]) -> Sequence[Unit]:
        """Those that their sources may still be behind; how many wait for that is told."""
        times = self.config.checks.source_share
        corpus = self.layout.source_sizes() if passed and times else {}
        if not corpus or len(corpus) < 2:  # an outside store, or one source
            return passed
        standing = [s.unit for s in self.layout.shelf.read() if states.get(s.unit.id) == "approved"]
        named = {id for unit in [*passed, *standing] for id in unit.drawn_from}
        source_of = self.layout.sources_of(named)
        found, waiting = allowed(passed, standing, source_of, corpus, times)
        for name, count in waiting.items():
            log.warning(
                "%d units of source %r passed every check and wait for a person: its share of the library is used up "
                "(checks.source_share)",
                count,
                name,
            )
        return found

    def decide(self, ids: Sequence[str], state: State, *, by: str, why: str) -> int:
        """A person's decision; unknown units are named."""
        self._require_known(ids, {s.unit.id: s for s in self.layout.shelf.read()})
        return len(self.layout.decisions.decide(ids, state, by=by, why=why))

    def _require_known(self, ids: Collection[str], stock: Mapping[str, StoredUnit]) -> None:
        if missing := [id for id in ids if id not in stock]:
            raise UsageError(f"expected ids of units, found {', '.join(missing)}: `wbrag units list` shows them")

    def mark_stale(self) -> int:
        """Candidates and approved units whose sources changed or whose time is up; how many that are."""
        units, states = [s.unit for s in self.layout.shelf.read()], self.layout.decisions.states()
        live = [unit for unit in units if states.get(unit.id, "candidate") in ("candidate", "approved")]
        passages = self.layout.passages({id for unit in live for id, _ in unit.sources})
        if live and not passages:
            raise WbragError(
                f"expected the corpus that {len(live)} units were distilled from, found none of their sources: check it"
            )
        why = stale(live, passages, now=datetime.now(UTC), ttl_days=self.config.checks.ttl_days)
        for reason in sorted(set(why.values())):
            ids = [id for id in why if why[id] == reason]
            only: list[State] = ["candidate", "approved"]
            self.layout.decisions.decide(ids, "stale", by="wbrag", why=reason, policy="freshness", only=only)
        return len(why)
