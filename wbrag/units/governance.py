"""Governance: units with their state, checks, sources, history and use, and decisions over them.

Nothing is edited, rows are appended. Reads are cached until a table changes, since a page repeats them again and again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.allowed import EVERYTHING, Allowed, access_of
from wbrag.core.errors import WbragError
from wbrag.core.types import Passage
from wbrag.retrieval.trained import TrainedRetriever
from wbrag.units.catalogue import Catalogue, no_unit
from wbrag.units.checks.interface import CheckResult
from wbrag.units.decisions import Decision, State
from wbrag.units.labels import labels_version, visible
from wbrag.units.layout import Layout
from wbrag.units.push import push_if_configured
from wbrag.units.release_contents import difference, folders, holders, known_ids, release_ids, still_there
from wbrag.units.releases import Release
from wbrag.units.review import MIN_ANSWERS, Card, Reason, ReviewItem, Use, item, use_of, work_list

OF_ITS_OWN = ("grounding", "instructions", "leakage", "round_trip", "sources", "trust")  # of the unit and its sources
COMPARED = "compared with documents of which some may not be for you"
PIECE = 10_000  # units that are looked up together
REREAD_AFTER = 20  # times as long as the last read took


@dataclass(frozen=True)
class UnitPage:
    """A unit with everything that is known of it."""

    card: Card
    sources: tuple[tuple[Passage | None, bool], ...]  # as in the corpus now (None: gone), and whether unchanged
    history: tuple[Decision, ...]  # oldest first
    releases: tuple[str, ...]  # those that hold it

    def alone(self) -> UnitPage:
        """Without what other documents say, of which some may be hidden: what comparisons found, and reasons."""
        return replace(self, card=alone(self.card), history=tuple(replace(step, why="") for step in self.history))


@dataclass(frozen=True)
class Difference:
    """What `after` holds that `before` does not, and the other way round."""

    before: Release
    after: Release
    added: tuple[str, ...]  # ids
    removed: tuple[str, ...]
    kept: int


def alone(card: Card) -> Card:
    """The unit without what other documents say."""
    examined, decided = card.examined, card.decided
    if examined:
        found = examined.results
        kept = tuple(r if r.name in OF_ITS_OWN else CheckResult(r.name, r.passed, None, None, COMPARED) for r in found)
        examined = replace(examined, results=kept)
    unit = replace(card.unit, parent="")  # its sources may have been others
    return replace(card, unit=unit, examined=examined, decided=decided and replace(decided, why=""))


class Governance:
    """The knowledge owner's view of a workspace. `decide` and `rollback` leave rows; nothing is edited.

    For those who may not see everything, lists, cards and decisions are of units that are `allowed`, without what other
    documents say: what a comparison found, and reasons, which may quote it. Releases and the work list tell of all.
    """

    def __init__(self, layout: Layout, allowed: Allowed = EVERYTHING) -> None:
        self.layout, self.allowed = layout, allowed
        self._cache: dict[str, tuple[Any, Any]] = {}
        # version, when to look again, and what was found
        self._use_cache: tuple[Any, float, tuple[dict[str, Use], Counter[str]]] | None = None

    # -- looking ------------------------------------------------------------------------------------------------

    def select(
        self, states: Collection[State] | None = None, text: str = "", check: str = "", *, stale_first: bool = False
    ) -> list[str]:
        """The ids of units, failed ones first, then by title; see `Catalogue.select`."""
        found = self.catalogue()
        ids: list[str] = found.ids.take(found.select(states, text, check, stale_first=stale_first)).to_pylist()
        return ids

    def counts(self) -> dict[State, int]:
        """How many units are in each state."""
        return self.catalogue().counts()

    def cards(self, ids: Sequence[str]) -> list[Card]:
        """The units that `ids` name, in their order; raises `WbragError` where one is of none."""
        self.catalogue().places(ids)
        units = {unit.id: unit for unit in self.layout.shelf.units(ids)}
        examined, decided = self.layout.results.latest(ids), self.layout.decisions.latest(ids)
        uses, _ = self._use()
        cards = [
            Card(
                units[id],
                decided[id].state if id in decided else "candidate",
                examined.get(id),
                uses.get(id, Use()),
                decided.get(id),
            )
            for id in ids
        ]
        return cards if self.allowed.groups is None else [alone(card) for card in cards]

    def card(self, id: str) -> Card:
        """Raises `WbragError` where there is no such unit."""
        [found] = self.cards([id])
        return found

    def unit(self, id: str) -> UnitPage:
        """Everything about one unit."""
        card = self.card(id)
        passages = self.layout.passages([source for source, _ in card.unit.sources])
        sources = tuple(
            (found := passages.get(source), found is not None and found.content_hash == digest)
            for source, digest in card.unit.sources
        )
        history = tuple(self.layout.decisions.over([id]))
        if not all(self.allowed.may(access_of(passage.groups)) for passage, _ in sources if passage):
            raise no_unit(id)  # the corpus has changed since the list was made
        page = UnitPage(card, sources, history, tuple(holders(self.layout, id, self.releases())))
        return page if self.allowed.groups is None else page.alone()

    def releases(self) -> list[Release]:
        """Every release, oldest first."""
        table = self.layout.releases
        return self._cached("releases", table.log.version, table.all)

    def compare(self, before: str, after: str) -> Difference:
        """Which units two releases differ in; `none` is the base library alone."""
        first, second = self._release(before), self._release(after)
        added, removed = difference(self.layout, first, second)
        kept = max(0, len(self.ids_in(second)) - len(added))
        return Difference(first, second, tuple(sorted(added)), tuple(sorted(removed)), kept)

    def changed(self, before: Release, after: Release) -> tuple[int, int]:
        """How many units `after` holds that `before` does not, and the other way round."""
        name = f"changed {before.writeback_sha256} {after.writeback_sha256}"
        return self._cached(name, "", lambda: tuple(map(len, difference(self.layout, before, after))))

    def revived(self, release: Release) -> list[Decision]:
        """The last decisions on units of `release` that are not approved any more: a rollback brings them back."""
        latest = self.layout.decisions.latest(release_ids(self.layout, release))
        return [d for _, d in sorted(latest.items()) if d.state != "approved"]

    def retriever(self, release: Release) -> str:
        """What `release` searches with beside the encoder, in words; "" for the encoder alone."""
        if not release.retriever:
            return ""
        try:
            return TrainedRetriever.read(self.layout.path / release.retriever, release.retriever_sha256).described()
        except (WbragError, OSError):  # taken away since
            return f"{release.retriever}, which cannot be read"

    def ids_in(self, release: Release) -> frozenset[str]:
        """The ids of the units that `release` answers from."""
        return release_ids(self.layout, release)

    def unpublished(self, latest: Release | None) -> tuple[int, int]:
        """How many approved units `latest` does not hold, and how many it holds that are approved no more."""
        approved = set(self.select(["approved"]))
        held = self.ids_in(latest) if latest else frozenset[str]()
        return len(approved - held), len(held - approved)

    def used(self) -> list[str]:
        """The ids of units that answers had among their hits, most used first."""
        uses, _ = self._use()
        found = self.catalogue()
        known = {id for id in uses if uses[id].hits}
        titles = dict(zip(*(column.to_pylist() for column in found.among(known)), strict=True))
        return sorted(titles, key=lambda id: (-uses[id].hits, titles[id]))

    def unused(self, release: Release) -> list[str]:
        """The ids of units of `release` that no answer had among its hits, by title."""
        uses, _ = self._use()
        found = self.catalogue()
        ids: list[str] = found.among({id for id in self.ids_in(release) if not uses.get(id, Use()).hits})[0].to_pylist()
        return ids

    def work(self) -> dict[Reason, list[str]]:
        """What wants a person's look, the ids of units by reason, most urgent first: see `wbrag.units.review`."""
        return work_list(self.catalogue(), self._use()[0], self._unretrieved())

    def work_items(self, reason: Reason, ids: Sequence[str]) -> list[ReviewItem]:
        """A line for each of these units."""
        answers = self._unretrieved() if reason == "never retrieved" else {}
        return [
            item(card, reason, answers.get(card.unit.id, 0))
            for start in range(0, len(ids), PIECE)
            for card in self.cards(ids[start : start + PIECE])
        ]

    def _unretrieved(self) -> dict[str, int]:
        """Units of the newest release that no answer had among its hits: how many were served while each was in one."""
        releases, found = self.releases(), self._use()
        if not releases:
            return {}
        return self._cached(
            "unretrieved", (releases[-1].id, id(found)), lambda: self._count_unretrieved(releases, *found)
        )

    def _count_unretrieved(
        self, releases: Sequence[Release], uses: Mapping[str, Use], served: Mapping[str, int]
    ) -> dict[str, int]:
        answers: Counter[str] = Counter()  # by shard: a release has a unit in one of its own
        for release in releases:
            answers.update(dict.fromkeys(folders(self.layout, release), served.get(release.id, 0)))
        ids = pa.array(sorted(id for id in self.ids_in(releases[-1]) if not uses.get(id, Use()).hits), pa.string())
        counts = np.zeros(len(ids), np.int64)
        for folder, count in answers.items() if len(ids) else ():
            if (held := known_ids(self.layout, folder)) is not None:
                counts += count * pc.is_in(ids, value_set=held).to_numpy(zero_copy_only=False)
        enough = counts >= MIN_ANSWERS
        return dict(zip(ids.filter(pa.array(enough)).to_pylist(), counts[enough].tolist(), strict=True))

    # -- doing --------------------------------------------------------------------------------------------------

    def decide(self, ids: Iterable[str], state: State, *, by: str, why: str) -> list[Decision]:
        """A person's decision over units that exist; see `Decisions.decide`."""
        wanted = list(ids)
        self.catalogue().places(wanted)
        return self.layout.decisions.decide(wanted, state, by=by, why=why)

    def rollback(self, id: str, *, by: str, why: str = "") -> Release:
        """Append a release that answers as release `id` did."""
        still_there(self.layout, self.layout.releases.get(id))
        return push_if_configured(self.layout, self.layout.releases.rollback(id, by=by, note=why))

    # -- tables, read once a version ----------------------------------------------------------------------------

    def _release(self, name: str) -> Release:
        return self.layout.release("none") if name == "none" else self.layout.releases.get(name)

    def _use(self) -> tuple[dict[str, Use], Counter[str]]:
        """Each unit's use, and how many answers each release gave.

        Under traffic these tables change every few seconds, so they are read again only after `REREAD_AFTER` times as
        long as reading took: a page may show figures a little old, but never waits for millions of rows each time.
        """
        now, usage = time.monotonic(), self.layout.usage
        version = usage.answers.version, usage.feedback.version
        if self._use_cache is None or (version != self._use_cache[0] and now >= self._use_cache[1]):
            served = usage.answers.table(["request_id", "at", "release", "hit_ids", "hit_origins"])
            counts = served["release"].value_counts().to_pylist()
            found = use_of(served, usage.ratings()), Counter({c["values"]: c["counts"] for c in counts})
            self._use_cache = version, now + (1 + REREAD_AFTER) * (time.monotonic() - now), found
        return self._use_cache[2]

    def catalogue(self) -> Catalogue:
        """Every unit by columns, read again where a table has changed."""
        layout, narrows = self.layout, self.allowed.groups is not None
        versions = [table.version for table in (layout.shelf, layout.decisions.log, layout.results.log)]
        labels = (versions[0], labels_version(layout) if narrows else ())

        def shown(ids: list[str]) -> list[str]:
            found: list[str] = self._cached("shown", labels, lambda: visible(layout, ids, self.allowed))
            return found

        return self._cached(
            "catalogue",
            (*versions, labels),
            lambda: Catalogue(
                layout.shelf, layout.decisions.states(), layout.results.findings(), shown if narrows else None
            ),
        )

    def _cached(self, name: str, version: Any, read: Any) -> Any:
        known = self._cache.get(name)
        if known is None or known[0] != version:
            self._cache[name] = known = version, read()
        return known[1]  # not what another thread has put there since
