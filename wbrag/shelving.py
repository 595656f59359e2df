"""The shelf's verbs: what enrichment wrote is checked, approved, published, watched, refreshed and taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from wbrag.config import fingerprint
from wbrag.errors import UsageError, WbragError
from wbrag.progress import bar
from wbrag.runs import Runs
from wbrag.stores import state as state_of
from wbrag.stores.push import pushed
from wbrag.types import Example, Passage, Unit, content_hash, unit_id

if TYPE_CHECKING:
    from wbrag.shelf.canary import Canary
    from wbrag.shelf.decisions import State
    from wbrag.shelf.releases import Release
    from wbrag.shelf.review import Task

FROM_TRAFFIC = "from_traffic"  # a score that marks a unit learned from served answers: only a person approves it
CHECKER = 1  # raised whenever the checks would find something else under the same settings


class Shelving(Runs):
    """Units from rows to releases, with a row for every step."""

    def shelve(self, rows: Sequence[Mapping[str, Any]], config_fingerprint: str, **scores: float) -> dict[str, int]:
        """Put the units of accepted `rows` on the shelf, where they are candidates; only new ones are embedded."""
        from wbrag.enrich.summary import unit_of
        from wbrag.generators import generator_fingerprint
        from wbrag.shelf.releases import now

        made_with = {
            "model": f"{self.config.generator.model}@{generator_fingerprint(self.config)}",
            "prompt_version": self.prompt_version(),
            "config_fingerprint": config_fingerprint,
            "created_at": now(),
        }
        units = [unit_of(row, **made_with) for row in sorted(rows, key=lambda row: str(row["id"]))]
        return self._add([replace(unit, scores={**unit.scores, **scores}) for unit in units])

    def _add(self, units: Sequence[Unit]) -> dict[str, int]:
        from wbrag.hosts.failures import plainly
        from wbrag.retrieval.encoder import encoder_fingerprint

        if not units:
            return {"units_new": 0, "units_merged": 0}
        known = {s.unit.id: s.vector for s in self.shelf.read()}
        fresh = list({u.id: u for u in units if u.id not in known}.values())
        if fresh:
            with plainly("the embedding of new units"):
                vectors = asyncio.run(self.session.encoder().passages([u.contents for u in fresh]))
            known |= {u.id: vector for u, vector in zip(fresh, vectors)}
        encoder = encoder_fingerprint(self.config.encoder)
        matrix = np.array([known[u.id] for u in units])
        closed = {id for id, state in self.decisions.states().items() if state not in ("candidate", "approved")}
        result = self.shelf.add(units, matrix, encoder, self.config.publish.near_duplicate, closed)
        return {"units_new": len(result.new), "units_merged": result.merged}

    # -- checks and decisions -----------------------------------------------------------------------------------

    def check(self, ids: Collection[str] | None = None) -> dict[str, Any]:
        """Run the checks on candidates and stale units that were not examined under these settings and this corpus.

        `ids`: on these units, examined or not.
        """
        from wbrag.checks.nli import open_nli
        from wbrag.shelf.examine import examine, nearest_passages

        settings = self.config.checks
        stock, states, before = self.shelf.read(), self.decisions.states(), self.results.latest()
        tag = fingerprint(CHECKER, settings, self.base_row()[1], *state_of(self.config))
        waiting = {s.unit.id for s in stock if states.get(s.unit.id, "candidate") in ("candidate", "stale")}
        todo = set(ids) if ids is not None else {i for i in waiting if i not in before or before[i].fingerprint != tag}
        if todo:
            wanted = [s for s in stock if s.unit.id in todo]
            with bar("checking units", shown=self.progress):
                near = asyncio.run(nearest_passages(wanted, *self.base_search()))
                named = {id for s in wanted for id, _ in s.unit.sources} | {
                    h.id for hits in near.values() for h in hits
                }
                passages = self.passages(named)
                nli = open_nli(settings)
                self.results.add(examine(stock, todo, states, passages, near, settings, nli), tag)
        latest = self.results.latest()
        failed: dict[str, int] = {}
        for id in waiting:
            for check in latest[id].failed if id in latest else ():
                failed[check.name] = failed.get(check.name, 0) + 1
        passed = sum(1 for id in waiting if id in latest and latest[id].passed)
        return {"checked": len(todo), "waiting": len(waiting), "passed": passed, "failed": failed}

    def approve_what_passed(self) -> int:
        """The policy `checks`: every candidate that passed all of them, but none that was learned from traffic."""
        latest, states = self.results.latest(), self.decisions.states()
        ids = [
            s.unit.id
            for s in self.shelf.read()
            if states.get(s.unit.id, "candidate") == "candidate"
            and s.unit.id in latest
            and latest[s.unit.id].passed
            and FROM_TRAFFIC not in s.unit.scores
        ]
        return len(self.decisions.decide(ids, "approved", by="wbrag", why="passed every check", policy="checks"))

    def decide(self, ids: Sequence[str], state: State, *, by: str, why: str) -> int:
        """A person's decision; unknown units are named."""
        known = {s.unit.id for s in self.shelf.read()}
        if missing := [id for id in ids if id not in known]:
            raise UsageError(f"expected ids of units, found {', '.join(missing)}: `wbrag units list` shows them")
        return len(self.decisions.decide(ids, state, by=by, why=why))

    # -- releases -----------------------------------------------------------------------------------------------

    def publish(self, note: str = "", *, by: str = "", policy: str | None = None) -> Release:
        """The approved units become the newest release, once the canary has passed; see `checks.policy`.

        Raises `WbragError` where a canary is set and held-out accuracy falls.
        """
        self.check()
        if (policy or self.config.checks.policy) == "auto":
            self.approve_what_passed()
        proposed = self.propose(note, by=by)
        if proposed in self.releases.all():
            return pushed(self, proposed)
        if self.config.canary.examples:
            report = self.canary(proposed)
            if not report.passed:
                raise refused(report)
            proposed = replace(proposed, canary=report.to_json())
        return pushed(self, self.releases.append(proposed))

    def propose(self, note: str = "", *, by: str = "") -> Release:
        """The release that `publish` would append, its files written."""
        from wbrag.shelf.publish import propose

        version, states = self.shelf.version, self.decisions.states()
        stock = [s for s in self.shelf.read(version) if states.get(s.unit.id) == "approved"]
        manifest, digest = self.base_row()
        path = self.path / manifest if manifest else None
        history = self.releases.all()
        return propose(self.config, self.path, stock, version, history, path, digest, note=note, by=by)

    def canary(self, proposed: Release) -> Canary:
        """`proposed` against the latest release (or the base alone) over `canary.examples`."""
        from wbrag.shelf.canary import weigh

        c = self.config.canary
        assert c.examples is not None
        against = self.default_release(None)
        arms = [
            self.answers(c.examples, release=name, method=c.method, limit=c.limit, indexes=self.indexes(release))
            for name, release in ((against, against), (proposed.id, proposed))
        ]
        return weigh(c.examples, against, *arms, alpha=c.alpha, seed=self.config.seed)

    def rollback(self, id: str, *, by: str = "", why: str = "") -> Release:
        """Append a release that answers as release `id` did; decisions on units stay as they are."""
        return pushed(self, self.releases.rollback(id, by=by, note=why))

    def push(self, release: str = "latest") -> dict[str, Any]:
        """Make the outside store's collection hold exactly the units of `release`; `none`: no unit."""
        from wbrag.stores.push import push

        return push(self, self.release(release))

    # -- freshness ----------------------------------------------------------------------------------------------

    def refresh(self) -> dict[str, Any]:
        """Mark what is stale, and distil it again from the sources as they are now; unchanged units are not touched.

        What comes out is a candidate like any other. A unit none of whose sources is left is retired.
        """
        from wbrag.shelf.freshness import stale

        stock = {s.unit.id: s.unit for s in self.shelf.read()}
        states = self.decisions.states()
        passages = self.passages({id for unit in stock.values() for id, _ in unit.sources})
        standing = [unit for unit in stock.values() if states.get(unit.id) == "approved"]
        why = stale(standing, passages, now=datetime.now(UTC), ttl_days=self.config.checks.ttl_days)
        for reason in sorted(set(why.values())):
            ids = [id for id in why if why[id] == reason]
            self.decisions.decide(ids, "stale", by="wbrag", why=reason, policy="freshness")
        queued = [stock[id] for id, state in self.decisions.states().items() if state == "stale" and id in stock]
        orphans = [unit.id for unit in queued if not any(id in passages for id, _ in unit.sources)]
        self.decisions.decide(orphans, "retired", by="wbrag", why="none of its sources is left", policy="freshness")
        again = [unit for unit in queued if unit.id not in orphans]
        return {"stale": len(why), "retired": len(orphans), **self._distil_again(again, passages)}

    def _distil_again(self, units: Sequence[Unit], passages: Mapping[str, Passage]) -> dict[str, int]:
        """New units from the present sources of stale ones, which then retire; one that comes out alike may return."""
        known = self.every_example()
        todo: dict[str, tuple[Unit, Example]] = {}
        for unit in units:
            asked = next((known[id] for id in unit.question_ids if id in known), None)
            if asked is not None:
                documents = [passages[id] for id, _ in unit.sources if id in passages]
                key = content_hash("\n".join([unit.id, *(d.contents for d in documents)]))[:16]
                shown = {"documents": [(d.id, d.title, d.text) for d in documents]}
                todo[key] = unit, replace(asked, id=key, metadata=shown)
        result = {"distilled": 0, "without_question": len(units) - len(todo), "units_new": 0, "units_merged": 0}
        if todo:
            run = self.units([example for _, example in todo.values()], round_trip=self.config.enrich.round_trip)
            made = [(todo[row["id"]][0], row) for row in run.rows if not row["error"]]
            rows = [row | {"id": old.question_ids[0]} for old, row in made]
            result |= {"distilled": len(made), **self.shelve(rows, run.folder.name)}
            alike = {old.id for old, row in made if old.id == unit_id(f"{row['unit_title']}\n{row['unit_text']}")}
            for ids, state in ((alike, "candidate"), ({old.id for old, _ in made} - alike, "retired")):
                why = "distilled again from its present sources"
                self.decisions.decide(sorted(ids), state, by="wbrag", why=why, policy="freshness")  # type: ignore[arg-type]
            self.check()
        return result

    # -- watching -----------------------------------------------------------------------------------------------

    def review(self) -> list[Task]:
        """The knowledge owner's work list, most urgent first."""
        from wbrag.shelf.governance import Governance

        for table in (self.usage.answers, self.usage.feedback):
            table.compact()
        return Governance(self).tasks()

    def learn(self) -> dict[str, Any]:
        """Candidates from served answers that users liked; see `wbrag.learning`."""
        from wbrag.learning import learn

        return learn(self)


def refused(report: Canary) -> WbragError:
    """Why a canary stopped a release."""
    return WbragError(
        f"expected held-out accuracy not to fall, found {report.before:.1%} before and {report.after:.1%} after over "
        f"{report.n} questions of {report.examples} (p {report.p:.2g}): nothing was published; look at the new units"
    )
