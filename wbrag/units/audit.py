"""Audit log: who changed what, when and why, over every append-only table, in the order of time.

It only reads. Each table keeps its own order, whatever the clock said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wbrag.core.io.append_log import AppendLog
from wbrag.units.examinations import Examination
from wbrag.units.layout import Layout
from wbrag.units.learn import Lesson


class Change(NamedTuple):
    """One change. `what` is a unit's or a release's id; `policy` says what decided where no person did."""

    at: str
    by: str
    action: str
    what: str
    why: str
    policy: str = ""


def changes(layout: Layout) -> list[Change]:
    """Every decision, examination, release and lesson, oldest first.

    Each table keeps its own order, whatever the clock said: a row comes no earlier than the one before it.
    """
    written = layout.shelf.table(["created_at", "id", "title", "model"]).to_pylist()
    found = [
        (row["created_at"][:19], Change(row["created_at"], "wbrag", "write", row["id"], row["title"], row["model"]))
        for row in written
    ]
    for made in AppendLog(layout.path / "shelf" / "learned", Lesson).rows():
        change = Change(made.at, "wbrag", f"learn: {made.outcome}", made.request_id, made.why, made.unit_id)
        found.append((made.at[:19], change))
    found += _in_order(
        Change(d.at, d.by, f"{d.before} to {d.state}", d.unit_id, d.why, d.policy) for d in layout.decisions.all()
    )
    found += _in_order(
        Change(e.at, "wbrag", "check", e.unit_id, _found(e), e.fingerprint) for e in layout.results.all()
    )
    found += _in_order(
        Change(r.created_at, r.by, f"{r.action} {r.restores}".strip(), r.id, r.note, r.canary)
        for r in layout.releases.all()
    )
    return [change for _, change in sorted(found, key=lambda pair: pair[0])]


def _in_order(changes: Iterable[Change]) -> Iterator[tuple[str, Change]]:
    """Each with the second by which it is sorted: its own, or that of the row before it where the clock went back."""
    second = ""
    for change in changes:
        second = max(second, change.at[:19])
        yield second, change


def _found(examined: Examination) -> str:
    return "; ".join(f"{c.name}: {c.explanation}" for c in examined.failed) or "passed every check"
