"""Decision log: append-only, one row per step of a unit's life, with who, when and why.

A life runs `candidate -> approved -> retired`, or to `rejected`; `stale` is what a change of its sources, or age, makes
of a unit. One without a decision is a candidate. Only approved units are published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

import pyarrow.compute as pc

from wbrag.core.errors import UsageError, unknown
from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import Location, locked
from wbrag.core.io.schemas import from_table

State = Literal["candidate", "approved", "rejected", "retired", "stale"]
STATES: tuple[State, ...] = get_args(State)
NEXT: Mapping[State, frozenset[State]] = {
    "candidate": frozenset({"approved", "rejected", "stale"}),
    "approved": frozenset({"retired", "stale"}),
    "rejected": frozenset({"approved", "candidate"}),
    "retired": frozenset({"approved", "candidate"}),
    "stale": frozenset({"approved", "candidate", "retired"}),
}


@dataclass(frozen=True)
class Decision:
    """One step. `by` is a person or `wbrag`; `policy` says what decided: `person`, `checks`, `freshness`, ..."""

    number: int
    unit_id: str
    state: State
    before: State
    at: str
    by: str
    policy: str
    why: str

    def told(self) -> str:
        """Who did what to which unit, and why."""
        return f"{self.unit_id} {self.state} by {self.by} at {self.at[:16]}" + (f" ({self.why})" if self.why else "")


class Decisions:
    """The decisions table at `folder`; rows are only ever appended."""

    def __init__(self, folder: Location) -> None:
        self.log = AppendLog(folder, Decision)

    def all(self) -> list[Decision]:
        """Every decision, oldest first."""
        return _in_order(self.log.rows())

    def latest(self, ids: Collection[str]) -> dict[str, Decision]:
        """The last decision on each of the units that `ids` name and that were decided on."""
        return {d.unit_id: d for d in self.over(ids)}

    def over(self, ids: Collection[str]) -> list[Decision]:
        """Every decision on the units that `ids` name, oldest first."""
        return _in_order(from_table(Decision, self.log.select("unit_id", ids)))

    def states(self) -> dict[str, State]:
        """The state of every unit that was decided on; the others are candidates."""
        return self._now()[0]

    def _now(self) -> tuple[dict[str, State], int]:
        """The states, and the highest number of a decision; read by columns, since units may be a million."""
        rows = self.log.table(["number", "at", "unit_id", "state"])
        rows = rows.sort_by([("number", "ascending"), ("at", "ascending"), ("unit_id", "ascending")])
        states = {state: state for state in STATES}  # one text for all
        last = zip(rows["unit_id"].to_pylist(), rows["state"].to_pylist(), strict=True)
        return {id: states[state] for id, state in last}, pc.max(rows["number"]).as_py() or 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """No decision is made while the block runs, as far as `locked` reaches."""
        with locked(self.log.folder.with_suffix(".lock")):
            yield

    def decide(
        self,
        ids: Iterable[str],
        state: State,
        *,
        by: str,
        why: str | Mapping[str, str],
        policy: str = "person",
        only: Collection[State] | None = None,
    ) -> list[Decision]:
        """Move units to `state` in one commit; those that are there already stay as they are.

        `why`: one reason for all, or each unit's own by its id.
        `only`: units that are in one of these states when it comes to it; the others are left alone, so that no policy
        overrides what a person decided meanwhile. Raises `UsageError` for a step that a unit's life does not have, and
        then writes nothing.
        """
        if state not in STATES:
            raise unknown("state", state, list(STATES))
        ids = list(dict.fromkeys(ids))
        if not ids:
            return []
        with self.held():
            version = self.log.version
            states, last = self._now()
            number = last + 1
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            steps = []
            for id in ids:
                before = states.get(id, "candidate")
                if before == state or (only is not None and before not in only):
                    continue
                if state not in NEXT[before]:
                    allowed = " or ".join(sorted(NEXT[before]))
                    raise UsageError(f"expected {id} to become {allowed}, found {state!r}: it is {before} now")
                reason = why if isinstance(why, str) else why[id]
                steps.append(Decision(number, id, state, before, at, by, policy, reason))
            self.log.append(steps, after=version)
        return steps


def _in_order(decisions: Iterable[Decision]) -> list[Decision]:
    return sorted(decisions, key=lambda d: (d.number, d.at, d.unit_id))
