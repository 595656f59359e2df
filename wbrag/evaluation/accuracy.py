"""Held-out accuracy: the score of a release with its interval, and the paired gain over another.

A row that failed is no wrong answer: it is counted apart. In a pair it is one where the other run answered.
"""

from __future__ import annotations

from typing import Any

from wbrag.core.metrics import bootstrap_ci, compare, paired
from wbrag.core.tasks import task as known_task
from wbrag.enrich.start_check import warnings
from wbrag.enrich.summary import ends
from wbrag.executor.runner import Runner


def accuracy(
    runner: Runner, examples: str, *, release: str, against: str | None, method: str, limit: int | None
) -> dict[str, Any]:
    """Score and 95% bootstrap interval; with `against`, the paired gain over it, its interval and McNemar's p."""
    rows = runner.answers(examples, release=release, method=method, limit=limit)
    scores = [row["score"] for row in rows if not row["error"]]
    origins = [origin for row in rows for origin in row["hit_origins"] or []]
    result: dict[str, Any] = {
        "examples": examples,
        "release": release,
        "method": method,
        "n": len(rows),
        "metric": known_task(runner.layout.examples(examples, 1)[0].task).metric,
        "score": sum(scores) / max(1, len(scores)),
        "ci95": list(bootstrap_ci(scores, seed=runner.config.seed)),
        "writeback_share": origins.count("writeback") / len(origins) if origins else 0.0,
        "errors": sum(1 for row in rows if row["error"]),
        "ends": ends(rows),
    }
    result["warnings"] = warnings(result, runner.config)
    if against is not None:
        other = runner.answers(examples, release=against, method=method, limit=limit)
        c = compare(*paired(other, rows), seed=runner.config.seed)
        result |= {
            "against": against,
            "gain": c.gain,
            "gain_ci95": list(c.ci95),
            "p": c.p,
            "wins": c.wins,
            "losses": c.losses,
        }
    return result
