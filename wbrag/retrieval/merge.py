"""Exact merge: base and write-back hits in one ranking (the paper's equation 4).

By score, ties by id; an id occurs once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wbrag.core.types import Hit


def best(hits: Iterable[Hit], k: int) -> list[Hit]:
    """The `k` highest scores, ties broken by id; of hits with one id the better one stays."""
    ranked: list[Hit] = []
    seen: set[str] = set()
    for hit in sorted(hits, key=lambda h: (-h.score, h.id)):
        if len(ranked) >= k:
            break
        if hit.id not in seen:
            seen.add(hit.id)
            ranked.append(hit)
    return ranked


def merge(
    base: Sequence[Hit],
    writeback: Sequence[Hit],
    k: int,
    *,
    max_writeback_share: float = 1.0,
    sources: Mapping[str, frozenset[str]] | None = None,
) -> list[Hit]:
    """Top-K of both lists together (equation 4).

    `max_writeback_share` bounds the units among the k; `sources` (unit id -> passage ids) lets a unit that made the
    ranking displace the passages it was distilled from.
    """
    allowed = int(max_writeback_share * k + 1e-9)
    units = best(writeback, min(k, allowed)) if allowed else []
    merged = best([*base, *units], k)
    displaced: frozenset[str] = frozenset()
    while sources and (more := _sources(merged, sources) - displaced):  # a unit that moves up displaces in its turn
        displaced |= more
        merged = best([h for h in [*base, *units] if h.id not in displaced], k)
    return merged


def _sources(hits: Iterable[Hit], sources: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*(sources.get(h.id, frozenset()) for h in hits if h.origin == "writeback"))
