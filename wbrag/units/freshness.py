"""Freshness: which units are stale, and why.

Stale is a unit whose source changed or is gone, or that is older than `checks.ttl_days`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from wbrag.core.types import Passage, Unit


def stale(
    units: Iterable[Unit], passages: Mapping[str, Passage], *, now: datetime, ttl_days: float | None
) -> dict[str, str]:
    """Why each unit that is stale is so; `passages` are the corpus's present ones, by id, and `now` is in UTC."""
    found = {unit.id: _why(unit, passages, now, ttl_days) for unit in units}
    return {id: why for id, why in found.items() if why}


def _why(unit: Unit, passages: Mapping[str, Passage], now: datetime, ttl_days: float | None) -> str:
    gone = [id for id, _ in unit.sources if id not in passages]
    changed = [id for id, digest in unit.sources if id in passages and passages[id].content_hash != digest]
    if gone:
        return f"source {', '.join(gone)} is gone"
    if changed:
        return f"source {', '.join(changed)} changed"
    if ttl_days is not None and unit.created_at:
        age = now - datetime.fromisoformat(unit.created_at)
        if age > timedelta(days=ttl_days):
            return f"{age.days} days old, expected at most {ttl_days:g}"
    return ""
