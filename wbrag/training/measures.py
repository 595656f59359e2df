"""Ranking measures over candidate lists: recall@1, MRR@10 of gold passages, and nDCG@5 of recorded usefulness.

The last is scored by its own teacher, so it stands beside the others and never alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wbrag.training.lessons import Bools, Floats, Lessons

DEPTH = 10  # of the reciprocal rank
GAIN_DEPTH = 5  # of the nDCG


class Measured(NamedTuple):
    """Per question [n]; NaN where it has no gold passage among its candidates, or no two of known usefulness."""

    recall_at_1: Floats
    mrr_at_10: Floats
    utility_ndcg_at_5: Floats


def measure(lessons: Lessons, scores: Floats) -> Measured:
    """Every question's candidates as `scores` [n, k] rank them; ties keep the base's order."""
    order = np.argsort(np.where(lessons.present, -scores, np.inf), axis=1, kind="stable")
    gold = np.take_along_axis(lessons.gold, order, 1)
    some, first = gold.any(1), gold.argmax(1)
    recall = np.where(some, first == 0, np.nan)
    mrr = np.where(some, np.where(first < DEPTH, 1.0 / (1 + first), 0.0), np.nan)
    return Measured(recall.astype(np.float32), mrr.astype(np.float32), ndcg(lessons.logprob, lessons.asked, scores))


def ndcg(logprob: Floats, asked: Bools, scores: Floats) -> Floats:
    """nDCG@5 [n] over the candidates that were asked about; a gain is the likelihood's rise over the worst."""
    found = np.full(len(logprob), np.nan, np.float32)
    for row in range(len(logprob)):
        at = np.flatnonzero(asked[row])
        gain = logprob[row, at] - logprob[row, at].min() if len(at) > 1 else np.zeros(0)
        if not gain.any():
            continue
        discount = 1 / np.log2(np.arange(2, 2 + min(GAIN_DEPTH, len(at))))
        ranked = gain[np.argsort(-scores[row, at], kind="stable")][: len(discount)]
        best = np.sort(gain)[::-1][: len(discount)]
        found[row] = (ranked * discount).sum() / (best * discount).sum()
    return found
