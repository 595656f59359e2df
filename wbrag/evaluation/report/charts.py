"""Where things stand in the charts, in percent of the chart's width, so that text keeps its size on any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wbrag.evaluation.report.story import Arm, Funnel, Gain, Score
from wbrag.evaluation.report.wording import chance, count, duration, percent, percent_span, points, span


@dataclass(frozen=True)
class Bar:
    """One bar; `low` and `high` are the whisker, where there is one."""

    label: str
    value: str
    detail: str
    width: float
    low: float | None = None
    high: float | None = None
    kind: str = ""


@dataclass(frozen=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True)
class Dot:
    label: str
    value: str
    detail: str
    x: float
    low: float
    high: float
    sign: int


@dataclass(frozen=True)
class Forest:
    """Dots with intervals on one axis; `zero` is where no difference lies."""

    dots: tuple[Dot, ...]
    ticks: tuple[Tick, ...]
    zero: float


@dataclass(frozen=True)
class Column:
    x: float  # centre
    width: float
    height: float  # of the tallest column, in percent
    label: str
    value: str
    share: str


ACCURACY_TICKS = tuple(Tick(x, f"{x}%") for x in (0, 25, 50, 75, 100))


def place(value: float, low: float = 0.0, high: float = 1.0) -> float:
    """`value` between `low` and `high`, as a percentage; outside it is the nearer edge, not a number is the low one."""
    if not math.isfinite(value) or high <= low:
        return 0.0
    return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)


def accuracy(arms: Sequence[Arm], half: Literal["reworded", "new_facts"] | None = None) -> tuple[Bar, ...]:
    """A bar an arm, on all questions or on one half; arms without that half are left out."""
    measured: list[tuple[Arm, Arm | Score | None]] = [(arm, getattr(arm, half) if half else arm) for arm in arms]
    return tuple(
        Bar(
            arm.label,
            percent(m.score),
            percent_span(m.ci95),
            place(m.score),
            place(m.ci95[0]),
            place(m.ci95[1]),
            kind=arm.name,
        )
        for arm, m in measured
        if m is not None
    )


def forest(gains: Sequence[Gain]) -> Forest:
    ends = [end for g in gains for end in (g.gain, *g.ci95) if math.isfinite(end)]
    axis = axis_of(min([0.0, *ends]), max([0.0, *ends]))
    low, high = axis[0], axis[-1]
    dots = tuple(
        Dot(
            g.label,
            f"{points(g.gain)} points",
            f"{span(g.ci95)}, {chance(g.p)}",
            place(g.gain, low, high),
            place(g.ci95[0], low, high),
            place(g.ci95[1], low, high),
            g.sign,
        )
        for g in gains
    )
    ticks = tuple(Tick(place(at, low, high), points(at).removesuffix(".0")) for at in axis)
    return Forest(dots, ticks, place(0.0, low, high))


def axis_of(low: float, high: float) -> list[float]:
    """Round ticks from below `low` to above `high`, eight at most, with a little room on both sides of zero."""
    reach = max(high - low, 0.02)
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5) if reach <= 5 * s or s == 0.5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    first, last = (first - (low == 0.0), last + (high == 0.0))
    return [at * step for at in range(first, last + 1)]


def funnel_bars(funnel: Funnel) -> tuple[Bar, ...]:
    """From labelled questions to published units, each against the first."""
    steps = (
        ("Labelled questions", funnel.examples, "what training starts from"),
        ("Passed the utility gate", funnel.accepted, "the library made the answer better"),
        (
            "Units on the shelf",
            funnel.units_new,
            f"one passage per accepted question; {count(funnel.units_merged)} near-duplicates merged",
        ),
        (
            "Units published",
            funnel.units_published,
            "passed every check: grounded, round trip, no conflict and four more",
        ),
    )
    top = max(number for _, number, _ in steps)
    return tuple(Bar(label, count(number), detail, place(number, 0, top)) for label, number, detail in steps)


def stage_bars(stages: Sequence[tuple[str, float]]) -> tuple[Bar, ...]:
    finite = [seconds for _, seconds in stages if math.isfinite(seconds)]
    top, total = max(finite, default=0.0), sum(finite)
    return tuple(
        Bar(name, duration(seconds), percent(seconds / total if total else math.nan), place(seconds, 0, top))
        for name, seconds in stages
    )


def histogram(ranks: dict[int, int]) -> tuple[Column, ...]:
    """A column a rank, from rank 1 to the highest, gaps included."""
    last, total, top = max(ranks, default=0), sum(ranks.values()), max(ranks.values(), default=0)
    step = 100 / max(last, 1)
    return tuple(
        Column(
            round(step * (rank - 0.5), 2),
            round(step * 0.6, 2),
            place(ranks.get(rank, 0), 0, top),
            f"rank {rank}",
            count(ranks.get(rank, 0)),
            percent(ranks.get(rank, 0) / total if total else math.nan),
        )
        for rank in range(1, last + 1)
    )
