"""Pooled effects: one gain out of several sets' or draws', with the spread between them in its interval.

Random effects by DerSimonian and Laird (1986), intervals by Hartung and Knapp (2001), which hold for few sets too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from wbrag.core.metrics import Interval


class Pooled(NamedTuple):
    """The mean effect, its 95% interval and two-sided p, and the standard deviation between sets."""

    gain: float
    ci95: Interval
    p: float
    tau: float


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of `values`, at least what one changed value of 1 would give; infinite for fewer than two."""
    n = len(values)
    return max(float(np.std(values, ddof=1) / np.sqrt(n)), 1 / n) if n > 1 else float("inf")


def pool_effects(effects: Sequence[float], errors: Sequence[float]) -> Pooled:
    """Of at least two `effects` with their standard `errors`, which are above 0."""
    y, k = np.asarray(effects, dtype=np.float64), len(effects)
    within = np.asarray(errors, dtype=np.float64) ** 2
    weights = 1 / within
    fixed = float((weights * y).sum() / weights.sum())
    spread = float((weights * (y - fixed) ** 2).sum())
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    tau2 = max(0.0, (spread - (k - 1)) / scale)
    weights = 1 / (within + tau2)
    gain = float((weights * y).sum() / weights.sum())
    error = float(np.sqrt((weights * (y - gain) ** 2).sum() / ((k - 1) * weights.sum())))
    error = max(error, float(np.sqrt(1 / weights.sum())))  # never narrower than the questions alone allow
    half = float(t.ppf(0.975, k - 1)) * error
    p = float(2 * t.sf(abs(gain) / error, k - 1))
    return Pooled(gain, Interval(gain - half, gain + half), p, float(np.sqrt(tau2)))
