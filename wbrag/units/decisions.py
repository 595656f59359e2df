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

from wbrag.core.errors import UsageError, unknown
from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import Location, locked

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
        return sorted(self.log.rows(), key=lambda d: (d.number, d.at, d.unit_id))

    def latest(self) -> dict[str, Decision]:
        """The last decision on every unit that was decided on."""
        return {d.unit_id: d for d in self.all()}

    def states(self) -> dict[str, State]:
        """The state of every unit that was decided on; the others are candidates."""
        return {id: d.state for id, d in self.latest().items()}

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
        why: str,
        policy: str = "person",
        only: Collection[State] | None = None,
    ) -> list[Decision]:
        """Move units to `state` in one commit; those that are there already stay as they are.

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
            history = self.all()
            states = {d.unit_id: d.state for d in history}
            number = history[-1].number + 1 if history else 1
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            steps = []
            for id in ids:
                before = states.get(id, "candidate")
                if before == state or (only is not None and before not in only):
                    continue
                if state not in NEXT[before]:
                    allowed = " or ".join(sorted(NEXT[before]))
                    raise UsageError(f"expected {id} to become {allowed}, found {state!r}: it is {before} now")
                steps.append(Decision(number, id, state, before, at, by, policy, why))
            self.log.append(steps, after=version)
        return steps
