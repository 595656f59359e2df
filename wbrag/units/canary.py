"""Canary test: a release's accuracy on held-out questions against the release before it.

It fails where accuracy fell by more than chance explains, or where fewer than half of the questions were compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wbrag.core.metrics import compare, paired


@dataclass(frozen=True)
class Canary:
    """Accuracy of both releases over the same `n` questions; gain with its 95% interval and McNemar's p."""

    examples: str
    against: str
    n: int
    before: float
    after: float
    gain: float
    ci95: tuple[float, float]
    p: float
    wins: int
    losses: int
    passed: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def compare_releases(
    examples: str,
    against: str,
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    *,
    alpha: float,
    seed: int,
) -> Canary:
    """Compare two releases' answer rows (`id`, `score`, `error`) pair by pair.

    It fails where accuracy fell and McNemar's p is below `alpha`; a fall that chance explains does not stop a release.
    A question that fails with the new release alone is a wrong answer. Where fewer than half of the questions could be
    compared nothing was shown, and it fails.
    """
    old, new = paired(before, after)
    c = compare(old, new, seed=seed)
    means = [sum(scores) / max(1, len(scores)) for scores in (old, new)]
    ci95 = (float(c.ci95[0]), float(c.ci95[1]))
    passed = len(old) * 2 >= len(before) > 0 and not (c.gain < 0 and c.p < alpha)
    return Canary(examples, against, len(old), means[0], means[1], c.gain, ci95, c.p, c.wins, c.losses, passed)
