from __future__ import annotations

import json
from typing import Any

from wbrag.units.canary import compare_releases


def rows(*scores: float, failed: int | None = None) -> list[dict[str, Any]]:
    return [{"id": str(i), "score": s, "error": "boom" if i == failed else ""} for i, s in enumerate(scores)]


def test_a_clear_fall_stops_a_release_and_chance_does_not() -> None:
    before = rows(*[1.0] * 20)
    clear = compare_releases("a/dev", "r1", before, rows(*[0.0] * 8, *[1.0] * 12), alpha=0.05, seed=0)
    assert not clear.passed and (clear.losses, clear.wins, clear.n) == (8, 0, 20)
    slight = compare_releases("a/dev", "r1", before, rows(*[0.0] * 3, *[1.0] * 17), alpha=0.05, seed=0)
    assert slight.passed and slight.gain < 0
    better = compare_releases("a/dev", "r1", rows(*[0.0] * 20), before, alpha=0.05, seed=0)
    assert better.passed and (better.before, better.after) == (0.0, 1.0)


def test_a_question_that_failed_before_is_left_out_and_one_that_fails_now_is_lost() -> None:
    found = compare_releases("a/dev", "none", rows(1, 1, 1, failed=0), rows(0, 0, 1), alpha=0.05, seed=0)
    assert (found.n, found.losses, found.passed) == (2, 1, True)
    assert json.loads(found.to_json())["n"] == 2
    broken = compare_releases("a/dev", "none", rows(*[1] * 8), rows(*[1] * 7, 1, failed=7), alpha=0.05, seed=0)
    assert (broken.n, broken.losses) == (8, 1)


def test_a_canary_that_compared_too_little_fails() -> None:
    dead = [row | {"error": "gone"} for row in rows(*[0.0] * 6)]
    assert not compare_releases("a/dev", "none", dead, dead, alpha=0.05, seed=0).passed
    assert not compare_releases("a/dev", "none", [], [], alpha=0.05, seed=0).passed
