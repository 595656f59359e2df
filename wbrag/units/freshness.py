"""Freshness: which units are stale, and why.

Stale is a unit whose source changed or is gone, or that is older than `checks.ttl_days`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import pyarrow as pa

GROWN = ["id", "sources", "created_at"]  # columns of the units table


class Grown(NamedTuple):
    """What of a unit grows old: its sources (passage, and the hash of its contents when read), and its time."""

    id: str
    sources: tuple[tuple[str, str], ...]
    created_at: str


def grown_of(rows: pa.Table) -> list[Grown]:
    """Those of rows of the units table with the columns `GROWN`."""
    sources = [tuple((s["id"], s["content_hash"]) for s in listed or ()) for listed in rows["sources"].to_pylist()]
    return list(map(Grown, rows["id"].to_pylist(), sources, rows["created_at"].to_pylist()))


def stale(
    units: Iterable[Grown], hashes: Mapping[str, str], *, now: datetime, ttl_days: float | None
) -> dict[str, str]:
    """Why each unit that is stale is so; `hashes` are of the corpus's present passages, by id, and `now` is in UTC."""
    found = {unit.id: _why(unit, hashes, now, ttl_days) for unit in units}
    return {id: why for id, why in found.items() if why}


def _why(unit: Grown, hashes: Mapping[str, str], now: datetime, ttl_days: float | None) -> str:
    gone = [id for id, _ in unit.sources if id not in hashes]
    changed = [id for id, digest in unit.sources if id in hashes and hashes[id] != digest]
    if gone:
        return f"source {', '.join(gone)} is gone"
    if changed:
        return f"source {', '.join(changed)} changed"
    if ttl_days is not None and unit.created_at:
        age = now - datetime.fromisoformat(unit.created_at)
        if age > timedelta(days=ttl_days):
            return f"{age.days} days old, expected at most {ttl_days:g}"
    return ""
