from __future__ import annotations

from datetime import UTC, datetime

from wbrag.core.types import Passage
from wbrag.units.freshness import Grown, stale

NOW = datetime(2026, 6, 1, tzinfo=UTC)
P1, P2 = Passage("p1", "One", "First."), Passage("p2", "Two", "Second.")
UNIT = Grown("u", (("p1", P1.content_hash), ("p2", P2.content_hash)), "2026-05-01T00:00:00+00:00")


def hashes(*passages: Passage) -> dict[str, str]:
    return {passage.id: passage.content_hash for passage in passages}


def test_a_unit_of_unchanged_sources_is_fresh() -> None:
    assert stale([UNIT], hashes(P1, P2), now=NOW, ttl_days=None) == {}


def test_a_changed_source_a_gone_one_and_age_make_it_stale() -> None:
    changed = Passage("p2", "Two", "Another second.")
    assert stale([UNIT], hashes(P1, changed), now=NOW, ttl_days=None) == {UNIT.id: "source p2 changed"}
    assert stale([UNIT], hashes(P2), now=NOW, ttl_days=None) == {UNIT.id: "source p1 is gone"}
    both = hashes(P1, P2)
    assert stale([UNIT], both, now=NOW, ttl_days=31) == {}
    assert stale([UNIT], both, now=NOW, ttl_days=30) == {UNIT.id: "31 days old, expected at most 30"}
