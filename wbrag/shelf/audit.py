"""The audit: who changed what, when and why, out of every table that only grows, in the order of time."""

from __future__ import annotations

from typing import NamedTuple

from wbrag.store import Store


class Change(NamedTuple):
    """One change. `what` is a unit's or a release's id; `policy` says what decided where no person did."""

    at: str
    by: str
    action: str
    what: str
    why: str
    policy: str = ""


def changes(store: Store) -> list[Change]:
    """Every decision, examination, release and lesson, oldest first."""
    from wbrag.learning import LEARNED
    from wbrag.shelf.log import Log

    found = [
        Change(s.unit.created_at, "wbrag", "write", s.unit.id, s.unit.title, s.unit.model) for s in store.shelf.read()
    ]
    for d in store.decisions.all():
        found.append(Change(d.at, d.by, f"{d.before} to {d.state}", d.unit_id, d.why, d.policy))
    for e in store.results.all():
        what = "; ".join(f"{c.name}: {c.explanation}" for c in e.failed) or "passed every check"
        found.append(Change(e.at, "wbrag", "check", e.unit_id, what, e.fingerprint))
    for r in store.releases.all():
        found.append(Change(r.created_at, r.by, f"{r.action} {r.restores}".strip(), r.id, r.note, r.canary))
    for row in Log(store.path / "shelf" / "learned", LEARNED).rows():
        found.append(
            Change(row["at"], "wbrag", f"learn: {row['outcome']}", row["request_id"], row["why"], row["unit_id"])
        )
    return sorted(found, key=lambda change: change.at[:19])
