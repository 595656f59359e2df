from __future__ import annotations

import json

from wbrag.shelf.canary import weigh


def rows(*scores: float, failed: int | None = None) -> list[dict[str, object]]:
    return [{"id": str(i), "score": s, "error": "boom" if i == failed else ""} for i, s in enumerate(scores)]


def test_a_clear_fall_stops_a_release_and_chance_does_not() -> None:
    before = rows(*[1.0] * 20)
    clear = weigh("a/dev", "r1", before, rows(*[0.0] * 8, *[1.0] * 12), alpha=0.05, seed=0)
    assert not clear.passed and (clear.losses, clear.wins, clear.n) == (8, 0, 20)
    slight = weigh("a/dev", "r1", before, rows(*[0.0] * 3, *[1.0] * 17), alpha=0.05, seed=0)
    assert slight.passed and slight.gain < 0
    better = weigh("a/dev", "r1", rows(*[0.0] * 20), before, alpha=0.05, seed=0)
    assert better.passed and (better.before, better.after) == (0.0, 1.0)


def test_a_question_that_failed_on_either_side_is_left_out() -> None:
    found = weigh("a/dev", "none", rows(1, 1, 1, failed=0), rows(0, 0, 1), alpha=0.05, seed=0)
    assert (found.n, found.losses) == (2, 1)
    assert json.loads(found.to_json())["n"] == 2
