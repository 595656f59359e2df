"""Answer metrics (EM, accuracy, token F1) and paired statistics (bootstrap, McNemar, Holm, Cohen's kappa).

The metrics are FlashRAG's: https://github.com/RUC-NLPIR/FlashRAG/blob/main/flashrag/evaluator/metrics.py
but for golden answers of which its normalisation leaves nothing, which there every reply contains: these are compared
as they stand.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wbrag.core.normalise import FLASHRAG, Normalisation

Metric = Callable[..., float]  # of a prediction, golden answers and, perhaps, a normalisation
_CLOSED = {"yes", "no", "noanswer"}
_AROUND = string.punctuation


def em(prediction: str, golden_answers: Sequence[str], by: Normalisation = FLASHRAG) -> float:
    """Exact match: 1.0 if the normalised prediction equals any normalised golden answer, else 0.0."""
    said = by.form(prediction)
    return float(any(said == form if (form := by.form(g)) else _is(prediction, g) for g in golden_answers))


def acc(prediction: str, golden_answers: Sequence[str], by: Normalisation = FLASHRAG) -> float:
    """Sub-exact match: 1.0 if any normalised golden answer is a substring of the normalised prediction, else 0.0."""
    said = by.form(prediction)
    return float(any(form in said if (form := by.form(g)) else _says(prediction, g) for g in golden_answers))


def f1(prediction: str, golden_answers: Sequence[str], by: Normalisation = FLASHRAG) -> float:
    """Best token F1 over the golden answers, in [0, 1]; zero where only one side is yes, no or noanswer."""
    return max((_overlap(prediction, g, by).f1 for g in golden_answers), default=0.0)


def precision(prediction: str, golden_answers: Sequence[str], by: Normalisation = FLASHRAG) -> float:
    """Best share of the prediction's tokens that a golden answer holds, with the same rule for yes and no."""
    return max((_overlap(prediction, g, by).precision for g in golden_answers), default=0.0)


def recall(prediction: str, golden_answers: Sequence[str], by: Normalisation = FLASHRAG) -> float:
    """Best share of a golden answer's tokens that the prediction holds, with the same rule for yes and no."""
    return max((_overlap(prediction, g, by).recall for g in golden_answers), default=0.0)


def retrieval_recall(contents: Sequence[str], golden_answers: Sequence[str]) -> float:
    """1.0 if any normalised golden answer is a substring of any of the documents (title and text), else 0.0."""
    return float(any(acc(text, golden_answers) for text in contents))


def _is(prediction: str, golden: str) -> bool:
    """Whether a prediction is a golden answer of which normalisation leaves nothing ("A", "The", "?")."""
    said, gold = (text.strip().casefold() for text in (prediction, golden))
    return said == gold or (bool(gold) and said.strip(_AROUND) == gold.strip(_AROUND) != "")


def _says(prediction: str, golden: str) -> bool:
    """Whether such an answer stands in a prediction as words of its own, in its own capitals."""
    words = " ".join(word.strip(_AROUND) or word for word in prediction.split())
    gold = golden.strip(f"{_AROUND} ") or golden.strip()
    return _is(prediction, golden) or (bool(gold) and f" {gold} " in f" {words} ")


class _Overlap(NamedTuple):
    f1: float = 0.0
    precision: float = 0.0
    recall: float = 0.0


def _overlap(prediction: str, golden: str, by: Normalisation) -> _Overlap:
    said, gold = by.form(prediction), by.form(golden)
    if not gold:
        return _Overlap(*[float(_is(prediction, golden))] * 3)
    if said != gold and (said in _CLOSED or gold in _CLOSED):
        return _Overlap()
    left, right = by.tokens(said), by.tokens(gold)
    common = sum((Counter(left) & Counter(right)).values())
    if common == 0:
        return _Overlap()
    p, r = common / len(left), common / len(right)
    return _Overlap(2 * p * r / (p + r), p, r)


METRICS: dict[str, Metric] = {"em": em, "f1": f1, "acc": acc}


class Interval(NamedTuple):
    low: float
    high: float


class Comparison(NamedTuple):
    """Arm B against arm A on the same questions. `gain` = mean(B) - mean(A); `p` is McNemar's exact two-sided p."""

    gain: float
    ci95: Interval
    p: float
    wins: int
    losses: int


def bootstrap_ci(values: Sequence[float], *, samples: int = 10_000, seed: int = 0) -> Interval:
    """95% percentile bootstrap interval of the mean of `values` (shape [n])."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Interval(0.0, 0.0)
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [  # in slices: 10,000 x n indices at once would be 300 MB at n = 3,610
            data[rng.integers(0, data.size, (min(500, samples - done), data.size))].mean(axis=1)
            for done in range(0, samples, 500)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(low), float(high))


def wilson(successes: int, n: int) -> Interval:
    """95% interval of a share, which holds near 0 and 1 too (Wilson, 1927)."""
    from scipy.stats import binomtest

    if not n:
        return Interval(0.0, 1.0)
    found = binomtest(successes, n).proportion_ci(method="wilson")
    return Interval(float(found.low), float(found.high))


def compare(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> Comparison:
    """Paired comparison of two score lists of equal length; McNemar counts a question as right from score 0.5."""
    if len(a) != len(b):
        raise ValueError(f"expected paired scores of equal length, found {len(a)} and {len(b)}")
    difference = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    right_a, right_b = np.asarray(a) >= 0.5, np.asarray(b) >= 0.5
    wins, losses = int((right_b & ~right_a).sum()), int((right_a & ~right_b).sum())
    gain = float(difference.mean()) if difference.size else 0.0
    return Comparison(gain, bootstrap_ci(difference.tolist(), seed=seed), mcnemar(wins, losses), wins, losses)


def paired(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Both runs' scores of every question that did not fail `before`.

    One that fails `after` alone counts as answered wrong: a library whose prompts are refused is a worse one.
    """
    pairs = [(x["score"], 0.0 if y["error"] else y["score"]) for x, y in zip(before, after) if not x["error"]]
    return [score for score, _ in pairs], [score for _, score in pairs]


def kappa(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Cohen's kappa of two yes/no ratings of the same things; 1.0 where both always say the same one thing."""
    agree = float(np.mean(np.asarray(a) == np.asarray(b)))
    yes_a, yes_b = float(np.mean(a)), float(np.mean(b))
    chance = yes_a * yes_b + (1 - yes_a) * (1 - yes_b)
    return 1.0 if chance == 1.0 else (agree - chance) / (1 - chance)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p values, in their order (Holm, 1979)."""
    adjusted, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = running
    return adjusted


def mcnemar(wins: int, losses: int) -> float:
    """Exact two-sided McNemar p: a sign test on the questions whose verdict changed."""
    if wins + losses == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses, 0.5).pvalue)
