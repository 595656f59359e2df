"""The publisher: from approved units to the newest release, in one order for the command line and the desk.

A release is appended only after it has opened and, where a canary is set, answers no worse than the one before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from wbrag.core.config import Config
from wbrag.core.errors import WbragError
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.trained import TrainedRetriever, named, trained
from wbrag.units.canary import Canary, compare_releases
from wbrag.units.decisions import Decision
from wbrag.units.labels import unit_labels
from wbrag.units.library import Library
from wbrag.units.publish import Stock, propose
from wbrag.units.push import push_if_configured
from wbrag.units.release_contents import release_ids, still_there
from wbrag.units.releases import Release
from wbrag.units.tidy import tidy_tables

log = logging.getLogger(__name__)


class Tester(Protocol):
    """What a proposed release is tested with: the models of a job (`wbrag.executor.runner`), or of the endpoint."""

    def prepare(self, release: Release) -> None:
        """Open `release`; raises `WbragError` with what is wrong."""
        ...

    def canary_rows(self, release: Release) -> Sequence[Mapping[str, Any]]:
        """Its answers to `canary.examples`: rows with `id`, `score` and `error`, in one order for all releases."""
        ...


class Publisher:
    """Makes releases of a library; one at a time in a process."""

    def __init__(self, library: Library, tester: Tester) -> None:
        self.library, self.layout, self.tester = library, library.layout, tester
        self._one = threading.Lock()

    @property
    def config(self) -> Config:
        return self.layout.config

    def publish(self, note: str = "", *, by: str = "", policy: str | None = None, retriever: str = "latest") -> Release:
        """The approved units become the newest release, once it has opened and passed the canary.

        Units whose sources changed turn stale first. `policy`: see `checks.policy`; `retriever`: `latest`, `none`, or a
        trained one by its name (`retriever`). Returns the present release where
        nothing changed; raises `WbragError` where the release is damaged, or a canary is set and accuracy falls.
        """
        with self._one:
            self.library.mark_stale()
            if (policy or self.config.checks.policy) == "auto":
                self.library.check()
                self.library.approve_what_passed()
            self.library.embed_again()
            proposed, report = self.propose(note, by=by, retriever=retriever), None
            if not self.stands(proposed):
                self.tester.prepare(proposed)
                report = self.canary(proposed) if self.config.canary.examples else None
            return self.conclude(proposed, report)

    def propose(self, note: str = "", *, by: str = "", retriever: str = "latest") -> Release:
        """The release that `publish` would append, its files written; the latest where nothing changed."""
        version, states = self.layout.shelf.version, self.layout.decisions.states()
        approved = [id for id in self.layout.shelf.ids(version) if states.get(id) == "approved"]
        manifest, digest = self.layout.base_row()
        path = self.layout.path / manifest if manifest else None
        history = self.layout.releases.all()
        chosen = self.retriever(retriever, history)
        file = chosen.write(self.layout.retrievers) if chosen else None
        stock = Stock(self.layout.shelf, version, approved, unit_labels(self.layout, approved, version))
        return propose(self.config, self.layout.path, stock, history, path, digest, retriever=file, note=note, by=by)

    def retriever(self, name: str, history: Sequence[Release]) -> TrainedRetriever | None:
        """The trained retriever called `name`, None for the encoder alone.

        `latest` is the newest that did better on held-out questions, unless a release was rolled back since it was
        trained: then what the last release has stays.
        """
        c = self.config.encoder
        encoder, root = encoder_fingerprint(c), self.layout.retrievers
        if name != "latest":
            return None if name == "none" else named(root, encoder, c.model, name)
        newest = next((one for one in reversed(trained(root, encoder)) if one.better), None)
        back = max((r.created_at for r in history if r.action == "rollback"), default="")
        if newest and newest.created_at > back:
            return newest
        last = history[-1] if history else None
        return self.layout.retriever(last) if last and last.encoder == encoder else None

    def stands(self, release: Release) -> bool:
        """Whether `release` is a row already."""
        return release in self.layout.releases.all()

    def conclude(self, proposed: Release, report: Canary | None) -> Release:
        """Append `proposed` with its canary's report, unless it stands already; raises where the canary failed."""
        if report is not None and not report.passed:
            raise canary_error(report)
        if not self.stands(proposed):
            decisions = self.layout.decisions
            with decisions.held():  # until the row is there, nobody retires a unit of it
                ids = release_ids(self.layout, proposed)
                self._check_approved(ids, decisions.latest(ids))
                still_there(self.layout, proposed)
                self.layout.releases.append(replace(proposed, canary=report.to_json() if report else ""))
        pushed = push_if_configured(self.layout, self.layout.releases.get(proposed.id))
        try:
            tidy_tables(self.layout)
        except WbragError as error:  # the release stands
            log.warning("tables of many small files stay as they are: %s", error)
        return pushed

    def _check_approved(self, ids: Collection[str], latest: Mapping[str, Decision]) -> None:
        """Raises `WbragError` where a unit of the tested release was closed while it was tested."""
        closed = [latest[id] for id in sorted(ids) if id in latest and latest[id].state != "approved"]
        if closed:
            more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
            raise WbragError(
                "expected the units of the release to stay approved while it was tested, found "
                f"{closed[0].told()}{more}: nothing was published; publish again"
            )

    def canary(self, proposed: Release) -> Canary:
        """`proposed` against what answers now over `canary.examples`."""
        c, before = self.config.canary, self.answering()
        assert c.examples is not None
        arms = [self.tester.canary_rows(release) for release in (before, proposed)]
        return compare_releases(c.examples, before.id, *arms, alpha=c.alpha, seed=self.config.seed)

    def answering(self) -> Release:
        """The latest release, or the base alone where there is none that answers under these settings."""
        try:
            release = self.layout.release(self.layout.default_release(None))
            self.layout.indexes(release)
            return release
        except WbragError:  # made with another encoder, or beside another store
            return self.layout.release("none")


def canary_error(report: Canary) -> WbragError:
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
