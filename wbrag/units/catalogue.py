"""Catalogue: every unit's title, state, checks and backing, by columns, so that lists of a million fit in memory.

A list is a selection of places in the order of titles; only the units of a page become Python objects
(`wbrag.units.governance`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.errors import WbragError
from wbrag.units.decisions import STATES, State
from wbrag.units.examinations import Finding
from wbrag.units.stored import UNBACKED
from wbrag.units.table import UnitTable

Places = npt.NDArray[np.int64]
CANDIDATE = STATES.index("candidate")


class Catalogue:
    """Units of a shelf, as they were decided on and examined; all of them, or those that `shown` lets through."""

    def __init__(
        self,
        shelf: UnitTable,
        states: Mapping[str, State],
        findings: Mapping[str, Finding],
        shown: Callable[[list[str]], Sequence[str]] | None = None,
    ) -> None:
        rows = shelf.table(["id", "title", "scores"]).sort_by([("title", "ascending"), ("id", "ascending")])
        if shown:
            ids = pa.array(shown(rows["id"].to_pylist()), pa.string())
            rows = rows.filter(pc.is_in(rows["id"], value_set=ids))
        self.shelf, self.ids, self.titles = shelf, rows["id"].combine_chunks(), rows["title"].combine_chunks()
        marked = "|".join(f'"{name}": ' for name in UNBACKED)
        self.unbacked = _flags(pc.match_substring_regex(rows["scores"], marked))
        codes = {state: code for code, state in enumerate(STATES)}
        self.states = np.full(len(rows), CANDIDATE, np.int8)
        self.examined, self.flagged = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        self.failed: dict[int, tuple[str, ...]] = {}  # names of the failed checks, by place
        for place, id in enumerate(self.ids.to_pylist()):
            if id in states:
                self.states[place] = codes[states[id]]
            if found := findings.get(id):
                self.examined[place], self.flagged[place] = True, not found.passed
                if found.failed:
                    self.failed[place] = found.failed

    def __len__(self) -> int:
        return len(self.ids)

    def counts(self) -> dict[State, int]:
        """How many units are in each state."""
        found = np.bincount(self.states, minlength=len(STATES))
        return {state: int(found[code]) for code, state in enumerate(STATES)}

    def places(self, ids: Collection[str]) -> Places:
        """Where these units are; raises `WbragError` for an id that is of none."""
        wanted = pa.array(list(ids), pa.string())
        found = pc.index_in(wanted, value_set=self.ids)
        if found.null_count:
            unknown = wanted.filter(pc.is_null(found))[0].as_py()
            raise no_unit(unknown)
        places: Places = found.to_numpy(zero_copy_only=False).astype(np.int64)
        return places

    def among(self, ids: Collection[str]) -> tuple[pa.Array, pa.Array]:
        """Ids and titles of those of its units that `ids` name, by title."""
        named = pc.is_in(self.ids, value_set=pa.array(list(ids), pa.string()))
        return self.ids.filter(named), self.titles.filter(named)

    def select(
        self, states: Collection[State] | None = None, text: str = "", check: str = "", *, stale_first: bool = False
    ) -> Places:
        """Units in one of `states` whose id, title or text hold every word of `text`, failed ones first.

        `check`: any (""), "failed", "passed", "unchecked", or the name of a check that failed.
        """
        chosen = np.ones(len(self), bool)
        if states is not None:
            chosen &= np.isin(self.states, [STATES.index(state) for state in states])
        chosen &= self._checked(check)
        if words := text.lower().split():
            chosen &= self._holds(words)
        places = np.flatnonzero(chosen)
        fresh = self.states[places] != STATES.index("stale") if stale_first else np.zeros(len(places), bool)
        return places[np.lexsort((fresh, ~self.flagged[places]))]

    def _checked(self, check: str) -> npt.NDArray[np.bool_]:
        if check == "unchecked":
            return ~self.examined
        if check == "passed":
            return self.examined & ~self.flagged
        if check in ("", "failed"):
            return self.flagged if check else np.ones(len(self), bool)
        named = np.zeros(len(self), bool)
        named[[place for place, names in self.failed.items() if check in names]] = True
        return named

    def _holds(self, words: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Read piece by piece: texts of all units are not kept."""
        found: list[pa.Array] = []
        for piece in self.shelf.scanned(["id", "title", "text"]):
            whole = pc.utf8_lower(pc.binary_join_element_wise(*piece.columns, " ", null_handling="replace"))
            held = [pc.match_substring(whole, word) for word in words]
            found.append(piece["id"].filter(_all(held)))
        return _flags(pc.is_in(self.ids, pa.chunked_array(found, pa.string()))) if found else np.zeros(len(self), bool)

    def failing(self, states: Collection[State]) -> list[tuple[str, int]]:
        """The checks that units in these states failed, and how many each, most first."""
        codes = {STATES.index(state) for state in states}
        failed = (names for place, names in sorted(self.failed.items()) if self.states[place] in codes)
        return Counter(name for names in failed for name in names).most_common()


def _flags(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.fill_null(values, False).to_numpy(zero_copy_only=False).astype(bool)
    return found


def _all(masks: Sequence[pa.Array]) -> pa.Array:
    found = masks[0]
    for mask in masks[1:]:
        found = pc.and_(found, mask)
    return found


def no_unit(id: str) -> WbragError:
    """What is said of an id that no unit has, and of a unit that may not be seen."""
    return WbragError(f"expected the id of a unit, found {id!r}: `wbrag units list` shows them")
