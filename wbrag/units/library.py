"""The shelf's verbs: what enrichment wrote is checked, approved, published, watched, refreshed and taken back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wbrag.core.config import fingerprint
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.files import model_contents
from wbrag.core.progress import bar
from wbrag.core.types import Hit, Unit, content_hash
from wbrag.executor.runner import Runner
from wbrag.retrieval.external import state as state_of
from wbrag.units.push import pushed
from wbrag.units.table import FROM_TRAFFIC, StoredUnit

if TYPE_CHECKING:
    from wbrag.units.canary import Canary
    from wbrag.units.decisions import State
    from wbrag.units.releases import Release
    from wbrag.units.review import ReviewItem

CHECKER = 2  # raised whenever the checks would find something else under the same settings


class Library(Runner):
    """Units from rows to releases, with a row for every step."""

    def shelve(self, rows: Sequence[Mapping[str, Any]], config_fingerprint: str, **scores: float) -> dict[str, int]:
        """Put the units of accepted `rows` on the shelf, where they are candidates; only new ones are embedded."""
        from wbrag.enrich.summary import unit_of
        from wbrag.generators import generator_fingerprint
        from wbrag.units.releases import now

        made_with = {
            "model": f"{self.config.generator.model}@{generator_fingerprint(self.config)}",
            "prompt_version": self.prompt_version(),
            "config_fingerprint": config_fingerprint,
            "created_at": now(),
        }
        units = [unit_of(row, **made_with) for row in sorted(rows, key=lambda row: str(row["id"]))]
        return self._add([replace(unit, scores={**unit.scores, **scores}) for unit in units])

    def _add(self, units: Sequence[Unit]) -> dict[str, int]:
        from wbrag.executor.ray.failures import plainly
        from wbrag.retrieval.encoder import encoder_fingerprint

        if not units:
            return {"units_new": 0, "units_merged": 0}
        self._embed_again()
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
        self._reopen({u.id for u in units})
        return {"units_new": len(result.new), "units_merged": result.merged}

    def _reopen(self, written: set[str]) -> None:
        """Units that freshness closed, and that came out alike when they were written again, are candidates again."""
        last = {d.unit_id: d for d in self.decisions.all()}
        back = [id for id in written if id in last and last[id].policy == "freshness" and last[id].state != "candidate"]
        why, only = "written again from the present sources", ["stale", "retired"]
        self.decisions.decide(sorted(back), "candidate", by="wbrag", why=why, policy="freshness", only=only)  # type: ignore[arg-type]

    def _embed_again(self) -> None:
        """Give units the present encoder's vectors, where they have those of another."""
        from wbrag.executor.ray.failures import plainly
        from wbrag.retrieval.encoder import encoder_fingerprint

        encoder = encoder_fingerprint(self.config.encoder)
        old = [s for s in self.shelf.read() if s.encoder != encoder]
        if old:
            with plainly("the embedding of units"):
                vectors = asyncio.run(self.session.encoder().passages([s.unit.contents for s in old]))
            self.shelf.embed_again(old, vectors, encoder)

    # -- checks and decisions -----------------------------------------------------------------------------------

    def check(self, ids: Collection[str] | None = None) -> dict[str, Any]:
        """Run the checks on units that wait and were not examined as they, their sources and the settings are now.

        `ids`: on these units, examined or not.
        """
        from wbrag.units.examine import nearest_passages

        self._embed_again()
        todo = self.unexamined(ids)
        if todo:
            with bar("checking units", shown=self.progress):
                self.examine(todo, asyncio.run(nearest_passages(todo, *self.base_search())))
        waiting, latest = self._waiting(), self.results.latest()
        failed = Counter(check.name for id in waiting if id in latest for check in latest[id].failed)
        passed = sum(1 for id in waiting if id in latest and latest[id].passed)
        return {"checked": len(todo), "waiting": len(waiting), "passed": passed, "failed": dict(failed)}

    def unexamined(self, ids: Collection[str] | None = None) -> list[StoredUnit]:
        """Waiting units whose examination is none, or one of other texts, sources, settings or neighbours."""
        stock = {s.unit.id: s for s in self.shelf.read()}
        if ids is not None:
            self._known(ids, stock)
            return [stock[id] for id in sorted(set(ids))]
        waiting, latest = self._waiting(), self.results.latest()
        tags = self._tags([stock[id].unit for id in waiting])

        def current(id: str) -> bool:
            """What it was compared with may have gone, where it failed for that."""
            found = latest.get(id)
            compared = found is not None and any(c.name in ("novelty", "conflict") for c in found.failed)
            return found is not None and found.fingerprint == tags[id] and not compared

        return [stock[id] for id in sorted(waiting) if not current(id)]

    def examine(self, todo: Sequence[StoredUnit], near: Mapping[str, Sequence[Hit]]) -> None:
        """The checks over `todo`, whose nearest base passages are `near`, and a row for each unit."""
        from wbrag.units.checks.nli import open_nli
        from wbrag.units.examine import examine

        stock, states, latest = self.shelf.read(), self.decisions.states(), self.results.latest()
        stands: dict[str, State] = {id: state for id, state in states.items() if state == "approved"}
        stands |= {id: "candidate" for id in self._waiting() if id in latest and latest[id].passed}
        named = {id for s in todo for id, _ in s.unit.sources} | {hit.id for hits in near.values() for hit in hits}
        passages, ids = self.passages(named), {s.unit.id for s in todo}
        found = examine(stock, ids, stands, passages, near, self.config.checks, open_nli(self.config.checks))
        self.results.add(found, self._tags([s.unit for s in todo]))

    def _waiting(self) -> set[str]:
        states = self.decisions.states()
        return {s.unit.id for s in self.shelf.read() if states.get(s.unit.id, "candidate") in ("candidate", "stale")}

    def _tags(self, units: Sequence[Unit]) -> dict[str, str]:
        """What an examination of each unit depends on: its provenance, its sources, the settings and what stands."""
        if not units:
            return {}
        states, c = self.decisions.states(), self.config.checks
        stands = content_hash(" ".join(sorted(id for id, state in states.items() if state == "approved")))
        model = Path(c.nli_model).expanduser() if c.nli_model else None
        nli = model_contents(model) if model and model.is_dir() else c.nli_model
        settings = c.model_dump(mode="json", exclude={"policy", "ttl_days", "nli_model"})
        common = fingerprint(CHECKER, settings, nli, self.base_row()[1], *state_of(self.config), stands)
        passages = self.passages({id for unit in units for id, _ in unit.sources})

        def tag(unit: Unit) -> str:
            present = [passages[id] for id, _ in unit.sources if id in passages]
            rows = [(p.content_hash, p.source, p.trust, p.updated_at) for p in present]
            return fingerprint(common, unit.sources, unit.evidence, unit.scores, rows)

        return {unit.id: tag(unit) for unit in units}

    def approve_what_passed(self) -> int:
        """The policy `checks`: every candidate that passes all of them as it is now, but none learned from traffic."""
        latest, states = self.results.latest(), self.decisions.states()
        passed = [
            s.unit
            for s in self.shelf.read()
            if states.get(s.unit.id, "candidate") == "candidate"
            and s.unit.id in latest
            and latest[s.unit.id].passed
            and FROM_TRAFFIC not in s.unit.scores
        ]
        tags = self._tags(passed)
        ids = [unit.id for unit in passed if latest[unit.id].fingerprint == tags[unit.id]]
        why = "passed every check"
        return len(self.decisions.decide(ids, "approved", by="wbrag", why=why, policy="checks", only=["candidate"]))

    def decide(self, ids: Sequence[str], state: State, *, by: str, why: str) -> int:
        """A person's decision; unknown units are named."""
        self._known(ids, {s.unit.id: s for s in self.shelf.read()})
        return len(self.decisions.decide(ids, state, by=by, why=why))

    def _known(self, ids: Collection[str], stock: Mapping[str, StoredUnit]) -> None:
        if missing := [id for id in ids if id not in stock]:
            raise UsageError(f"expected ids of units, found {', '.join(missing)}: `wbrag units list` shows them")

    # -- releases -----------------------------------------------------------------------------------------------

    def publish(self, note: str = "", *, by: str = "", policy: str | None = None) -> Release:
        """The approved units become the newest release, once the canary has passed; see `checks.policy`.

        Units whose sources changed turn stale first. Raises `WbragError` where a canary is set and accuracy falls.
        """
        self.mark_stale()
        if (policy or self.config.checks.policy) == "auto":
            self.check()
            self.approve_what_passed()
        self._embed_again()
        proposed = self.propose(note, by=by)
        report = self.canary(proposed) if self.config.canary.examples and not self.stands(proposed) else None
        return self.conclude(proposed, report)

    def propose(self, note: str = "", *, by: str = "") -> Release:
        """The release that `publish` would append, its files written; the latest where nothing changed."""
        from wbrag.units.publish import propose

        version, states = self.shelf.version, self.decisions.states()
        stock = [s for s in self.shelf.read(version) if states.get(s.unit.id) == "approved"]
        manifest, digest = self.base_row()
        path = self.path / manifest if manifest else None
        history = self.releases.all()
        return propose(self.config, self.path, stock, version, history, path, digest, note=note, by=by)

    def stands(self, release: Release) -> bool:
        """Whether `release` is a row already."""
        return release in self.releases.all()

    def conclude(self, proposed: Release, report: Canary | None) -> Release:
        """Append `proposed` with its canary's report, unless it stands already; raises where the canary failed."""
        if report is not None and not report.passed:
            raise refused(report)
        if not self.stands(proposed):
            self.releases.append(replace(proposed, canary=report.to_json() if report else ""))
        return pushed(self, self.releases.get(proposed.id))

    def canary(self, proposed: Release) -> Canary:
        """`proposed` against what answers now over `canary.examples`."""
        from wbrag.units.canary import weigh

        c, before = self.config.canary, self.answering()
        assert c.examples is not None
        arms = [
            self.answers(c.examples, release=r.id, method=c.method, limit=c.limit, indexes=self.indexes(r))
            for r in (before, proposed)
        ]
        return weigh(c.examples, before.id, *arms, alpha=c.alpha, seed=self.config.seed)

    def answering(self) -> Release:
        """The latest release, or the base alone where there is none that answers under these settings."""
        try:
            release = self.release(self.default_release(None))
            self.indexes(release)
            return release
        except WbragError:  # made with another encoder, or beside another store
            return self.release("none")

    def rollback(self, id: str, *, by: str = "", why: str = "") -> Release:
        """Append a release that answers as release `id` did; decisions on units stay as they are."""
        from wbrag.units.governance import Governance

        return Governance(self).rollback(id, by=by, why=why)

    def push(self, release: str = "latest") -> dict[str, Any]:
        """Make the outside store's collection hold exactly the units of `release`; `none`: no unit."""
        from wbrag.units.push import push

        return push(self, self.release(release))

    # -- freshness ----------------------------------------------------------------------------------------------

    def mark_stale(self) -> int:
        """Candidates and approved units whose sources changed or whose time is up; how many that are."""
        from wbrag.units.freshness import stale

        units, states = [s.unit for s in self.shelf.read()], self.decisions.states()
        live = [unit for unit in units if states.get(unit.id, "candidate") in ("candidate", "approved")]
        passages = self.passages({id for unit in live for id, _ in unit.sources})
        if live and not passages:
            raise WbragError(
                f"expected the corpus that {len(live)} units were distilled from, found none of their sources: check it"
            )
        why = stale(live, passages, now=datetime.now(UTC), ttl_days=self.config.checks.ttl_days)
        for reason in sorted(set(why.values())):
            ids = [id for id in why if why[id] == reason]
            only: list[State] = ["candidate", "approved"]
            self.decisions.decide(ids, "stale", by="wbrag", why=reason, policy="freshness", only=only)
        return len(why)

    def refresh(self) -> dict[str, Any]:
        """Mark what is stale, and distil it again from the sources as they are now; see `wbrag.units.refresh`."""
        from wbrag.units.refresh import refresh

        return refresh(self)

    # -- watching -----------------------------------------------------------------------------------------------

    def review(self) -> list[ReviewItem]:
        """The knowledge owner's work list, most urgent first."""
        from wbrag.units.governance import Governance

        for table in (self.usage.answers, self.usage.feedback):
            table.compact()
        return Governance(self).tasks()

    def learn(self) -> dict[str, Any]:
        """Candidates from served answers that users liked; see `wbrag.units.learn`."""
        from wbrag.units.learn import learn

        return learn(self)


def refused(report: Canary) -> WbragError:
    """Why a canary stopped a release."""
    if report.gain >= 0:
        return WbragError(
            f"expected the canary to compare at least half of the questions of {report.examples}, found {report.n} "
            "that were answered: nothing was published; look at the model"
        )
    return WbragError(
        f"expected held-out accuracy not to fall, found {report.before:.1%} before and {report.after:.1%} after over "
        f"{report.n} questions of {report.examples} (p {report.p:.2g}): nothing was published; look at the new units"
    )
