"""Live counters: what the desk shows of a running gateway, read off its metrics.

They count since this gateway started; NaN stands where nothing was measured yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan

from prometheus_client import Counter

from wbrag.serving.prometheus import age_s
from wbrag.serving.service import AnswerService


def counters_of(service: AnswerService) -> dict[str, float]:
    """Counts since this gateway started; `_s` are seconds; NaN where there is nothing yet."""
    metrics, admission = service.metrics, service.admission
    hits = {origin: total(metrics.hits, origin=origin) for origin in ("base", "writeback")}
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for family in metrics.stage.collect()
        for sample in family.samples
        if sample.name.endswith("_bucket") and sample.labels["stage"] == "total"
    ]
    return {
        "answers": total(metrics.answers),
        "in_flight": admission.working,
        "queued": admission.waiting,
        "rejected": total(metrics.refused, reason="busy"),
        "writeback_share": hits["writeback"] / sum(hits.values()) if sum(hits.values()) else nan,
        "p50_s": quantile(buckets, 0.5),
        "p95_s": quantile(buckets, 0.95),
        "release_age_s": age_s(service.watcher.release),
    }


def total(counter: Counter, **labels: str) -> float:
    """The sum over those of a counter's series that carry `labels`."""
    return sum(
        sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    """Where `share` of the values lie below, from cumulative (upper bound, count), as Prometheus interpolates it."""
    if not buckets or not buckets[-1][1]:
        return nan
    wanted, low, below = share * buckets[-1][1], 0.0, 0.0
    for high, count in buckets:
        if count >= wanted:
            return low if high == inf else low + (high - low) * (wanted - below) / (count - below)
        low, below = high, count
    return nan
