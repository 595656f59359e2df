"""Governance: units with their state, checks, sources, history and use, and decisions over them.

Nothing is edited, rows are appended. Reads are cached until a table changes, since a page repeats them again and again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wbrag.core.errors import WbragError
from wbrag.core.types import Passage, Unit
from wbrag.retrieval.trained import TrainedRetriever
from wbrag.units.decisions import STATES, Decision, State
from wbrag.units.examinations import Examination
from wbrag.units.layout import Layout
from wbrag.units.publish import release_ids
from wbrag.units.push import push_if_configured
from wbrag.units.releases import Release
from wbrag.units.review import ReviewItem, Use, use_of, work_list
from wbrag.units.table import StoredUnit

REREAD_AFTER = 20  # times as long as the last read took


@dataclass(frozen=True)
class Card:
    """A unit in a list."""

    unit: Unit
    state: State
    examined: Examination | None  # None where the checks have not been run
    use: Use
    decided: Decision | None  # the last decision


@dataclass(frozen=True)
class UnitPage:
    """A unit with everything that is known of it."""

    card: Card
    sources: tuple[tuple[Passage | None, bool], ...]  # as in the corpus now (None: gone), and whether unchanged
    history: tuple[Decision, ...]  # oldest first
    releases: tuple[str, ...]  # those that hold it


@dataclass(frozen=True)
class Difference:
    """What `after` holds that `before` does not, and the other way round."""

    before: Release
    after: Release
    added: tuple[Unit, ...]
    removed: tuple[Unit, ...]
    kept: int


class Governance:
    """The knowledge owner's view of a workspace. `decide` and `rollback` leave rows; nothing is edited."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._cache: dict[str, tuple[Any, Any]] = {}
        # version, when to look again, and what was found
        self._use_cache: tuple[Any, float, tuple[dict[str, Use], Counter[str]]] | None = None

    # -- looking ------------------------------------------------------------------------------------------------

    def cards(self, state: State | None = None, text: str = "", *, flagged: bool | None = None) -> list[Card]:
        """Units in `state` whose title or text holds every word of `text`, those that failed a check first.

        `flagged`: only those that failed a check, or only those that did not.
        """
        words = text.lower().split()
        found = [
            card
            for card in self._cards().values()
            if (state is None or card.state == state)
            and (flagged is None or flagged == _flagged(card))
            and all(word in f"{card.unit.id} {card.unit.contents}".lower() for word in words)
        ]
        return sorted(found, key=lambda card: (not _flagged(card), card.unit.title, card.unit.id))

    def counts(self) -> dict[State, int]:
        """How many units are in each state."""
        found = Counter(card.state for card in self._cards().values())
        return {state: found[state] for state in STATES}

    def card(self, id: str) -> Card:
        """Raises `WbragError` where there is no such unit."""
        cards = self._cards()
        if id not in cards:
            raise WbragError(f"expected the id of a unit, found {id!r}: `wbrag units list` shows them")
        return cards[id]

    def unit(self, id: str) -> UnitPage:
        """Everything about one unit."""
        card = self.card(id)
        passages = self.layout.passages([source for source, _ in card.unit.sources])
        sources = tuple(
            (found := passages.get(source), found is not None and found.content_hash == digest)
            for source, digest in card.unit.sources
        )
        history = tuple(d for d in self._decisions() if d.unit_id == id)
        holding = tuple(r.id for r in self.releases() if id in self.ids_in(r))
        return UnitPage(card, sources, history, holding)

    def releases(self) -> list[Release]:
        """Every release, oldest first."""
        table = self.layout.releases
        return self._cached("releases", table.log.version, table.all)

    def compare(self, before: str, after: str) -> Difference:
        """Which units two releases differ in; `none` is the base library alone."""
        first, second = self._release(before), self._release(after)
        old, new = self.ids_in(first), self.ids_in(second)
        units = {stored.unit.id: stored.unit for stored in self._shelf()}
        return Difference(
            first,
            second,
            tuple(units[id] for id in sorted(new - old) if id in units),
            tuple(units[id] for id in sorted(old - new) if id in units),
            len(old & new),
        )

    def revived(self, release: Release) -> list[Decision]:
        """The last decisions on units of `release` that are not approved any more: a rollback brings them back."""
        latest = {d.unit_id: d for d in self._decisions()}
        found = [latest[id] for id in sorted(self.ids_in(release)) if id in latest]
        return [d for d in found if d.state != "approved"]

    def retriever(self, release: Release) -> str:
        """What `release` searches with beside the encoder, in words; "" for the encoder alone."""
        if not release.retriever:
            return ""
        try:
            return TrainedRetriever.read(self.layout.path / release.retriever, release.retriever_sha256).described()
        except (WbragError, OSError):  # taken away since
            return f"{release.retriever}, which cannot be read"

    def ids_in(self, release: Release) -> frozenset[str]:
        """The ids of the units that `release` answers from; its files are immutable."""
        return self._cached(f"ids {release.writeback_sha256}", "", lambda: release_ids(self.layout, release))

    def tasks(self) -> list[ReviewItem]:
        """What wants a person's look: see `wbrag.units.review.work_list`."""
        cards, releases = self._cards(), self.releases()
        _, served = self._use()
        holding = {release.id: self.ids_in(release) for release in releases}
        current = holding[releases[-1].id] if releases else frozenset[str]()
        published = {id: sum(served[name] for name, ids in holding.items() if id in ids) for id in current}
        return work_list(
            {id: card.unit.title for id, card in cards.items()},
            {id: card.state for id, card in cards.items()},
            {id: card.examined for id, card in cards.items() if card.examined},
            {id: card.use for id, card in cards.items()},
            published,
        )

    # -- doing --------------------------------------------------------------------------------------------------

    def decide(self, ids: Iterable[str], state: State, *, by: str, why: str) -> list[Decision]:
        """A person's decision over units that exist; see `Decisions.decide`."""
        known = self._cards()  # once: every look asks five tables for their versions
        wanted = [id if id in known else self.card(id).unit.id for id in ids]
        return self.layout.decisions.decide(wanted, state, by=by, why=why)

    def rollback(self, id: str, *, by: str, why: str = "") -> Release:
        """Append a release that answers as release `id` did."""
        return push_if_configured(self.layout, self.layout.releases.rollback(id, by=by, note=why))

    # -- tables, read once a version ----------------------------------------------------------------------------

    def _release(self, name: str) -> Release:
        return self.layout.release("none") if name == "none" else self.layout.releases.get(name)

    def _shelf(self) -> Sequence[StoredUnit]:
        return self.layout.shelf.read()

    def _decisions(self) -> list[Decision]:
        table = self.layout.decisions
        return self._cached("decisions", table.log.version, table.all)

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

    def _cards(self) -> dict[str, Card]:
        uses, _ = self._use()
        tables = self.layout.shelf, self.layout.decisions.log, self.layout.results.log
        versions = (*(table.version for table in tables), id(uses))
        return self._cached("cards", versions, lambda: self._make_cards(uses))

    def _make_cards(self, uses: Mapping[str, Use]) -> dict[str, Card]:
        last = {d.unit_id: d for d in self._decisions()}
        examined = self._cached("results", self.layout.results.log.version, self.layout.results.latest)
        return {
            id: Card(
                stored.unit,
                last[id].state if id in last else "candidate",
                examined.get(id),
                uses.get(id, Use()),
                last.get(id),
            )
            for stored in self._shelf()
            for id in [stored.unit.id]
        }

    def _cached(self, name: str, version: Any, read: Any) -> Any:
        if name not in self._cache or self._cache[name][0] != version:
            self._cache[name] = version, read()
        return self._cache[name][1]


def _flagged(card: Card) -> bool:
    return card.examined is not None and not card.examined.passed
