"""Charts of rows: above each mark stands what it is and what was measured; all marks share one axis.

A chart has a wide and a narrow form, of which the page shows the one that fits, so that text keeps a readable size.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from wbrag.core.metrics import Interval
from wbrag.evaluation.report.figure import FAINT, INK, LINE, PAPER, PLAIN, SOFT, drawn

WIDE, NARROW = 920, 380  # pixels, as all lengths here
LEADING, MARK, GAP, AXIS = 18, 24, 10, 24  # heights of a line of text, a mark, what is below it, and the axis' labels
LABEL, DETAIL = 15, 13  # sizes of text
BOLD: dict[str, Any] = {"size": LABEL, "weight": "bold"}
QUIET: dict[str, Any] = {"size": DETAIL, "color": SOFT}
LETTER = 0.65  # of a text's size: the mean width in a wide font
LINES = {"linewidth": 1.75, "markersize": 11, "markeredgewidth": 1.75, "clip_on": False}
Text = tuple[float, int, str, dict[str, Any]]  # place, line counted upwards from the mark, text, look


@dataclass(frozen=True)
class Row:
    """One thing measured, and where it lies on the axis."""

    label: str
    value: str
    detail: str
    at: float
    interval: Interval | None = None
    colour: str = PLAIN
    hollow: bool = False
    note: str = ""  # what the colour says


@dataclass(frozen=True)
class Form:
    """How the texts above each row's mark are set."""

    name: str
    width: float
    texts: Sequence[Sequence[Text]]

    @property
    def step(self) -> float:
        """From row to row."""
        return LEADING * max(line for texts in self.texts for _, line, *_ in texts) + MARK + GAP

    @property
    def height(self) -> float:
        return self.step * len(self.texts)


Mark = Callable[[Any, Row, float], None]  # axes, row, height


def chart(
    name: str, title: str, rows: Sequence[Row], mark: Mark, axis: Mapping[float, str], *, wide: bool = True
) -> Markup:
    """The chart in a box that chooses its form, or narrow alone. `axis`: its ticks, of which the outer ones end it."""
    if not rows:
        return Markup("")
    said = "; ".join(", ".join(filter(None, (f"{r.label}: {r.value}", r.detail, r.note))) for r in rows)
    beside = GAP + LETTER * LABEL * max(len(row.value) for row in rows)
    forms = [Form("wide", WIDE, [_wide(row, beside) for row in rows])] if wide else []
    forms.append(Form("narrow", NARROW, [_narrow(row, beside) for row in rows]))
    grid = [at for at, label in axis.items() if label]
    foot = AXIS if grid else 0

    def draw(form: Form, figure: Any) -> None:
        axes = _axes(figure, axis, form.height, foot)
        for i, (row, texts) in enumerate(zip(rows, form.texts)):
            middle = (i + 1) * form.step - GAP - MARK / 2
            for x, line, text, look in texts:
                y = middle - MARK / 2 - LEADING * (line - 0.8)
                axes.text(x / form.width, y, text, transform=axes.get_yaxis_transform(), va="baseline", **look)
            axes.vlines(grid, middle - MARK / 2, middle + MARK / 2, color=LINE, lw=1, zorder=0)
            mark(axes, row, middle)

    figures = [
        drawn(partial(draw, form), f"{name}-{form.name}", title, said, form.width, form.height + foot, form.name)
        for form in forms
    ]
    return Markup('<div class="plots">{}</div>').format(Markup("").join(figures))


def _axes(figure: Any, axis: Mapping[float, str], height: float, foot: float) -> Any:
    """The figure's width, rows downward in pixels, and the axis' labels below within that width."""
    whole = height + foot
    axes = figure.add_axes((0, foot / whole, 1, height / whole), xlim=(min(axis), max(axis)), ylim=(height, 0))
    axes.set_frame_on(False)
    axes.yaxis.set_visible(False)
    axes.set_xticks(list(axis), list(axis.values()), size=12)
    axes.tick_params(length=0)
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    return axes


def _wide(row: Row, beside: float) -> list[Text]:
    right = {"ha": "right"}
    return [(0, 1, row.label, BOLD), (WIDE - beside, 1, row.detail, QUIET | right), (WIDE, 1, row.value, BOLD | right)]


def _narrow(row: Row, beside: float) -> list[Text]:
    details = textwrap.wrap(row.detail, int((NARROW - beside) / LETTER / DETAIL)) or [""]
    lines = range(len(details), 0, -1)
    return [
        (0, lines[0] + 1, row.label, BOLD),
        (0, lines[0], row.value, BOLD),
        *((beside, line, text, QUIET) for line, text in zip(lines, details)),
    ]


def bar(axes: Any, row: Row, y: float) -> None:
    """From the axis' left end, with a whisker where there is an interval."""
    edge = PLAIN if row.colour == FAINT else row.colour
    axes.barh(y, _inside(axes, row.at), height=14, color=row.colour, edgecolor=edge, alpha=0.75)
    _whisker(axes, row, y)


def dot(axes: Any, row: Row, y: float) -> None:
    """With its interval, and a line where there is no difference."""
    axes.vlines(0, y - MARK / 2, y + MARK / 2, color=INK, lw=1.5)
    _whisker(axes, row, y)
    face = PAPER if row.hollow else row.colour
    axes.plot(_inside(axes, row.at), y, "o", color=row.colour, markerfacecolor=face, **LINES)


def _whisker(axes: Any, row: Row, y: float) -> None:
    if row.interval:
        axes.plot([_inside(axes, end) for end in row.interval], [y, y], marker="|", color=INK, **LINES)


def _inside(axes: Any, x: float) -> float:
    """`x`, or the nearer end of the axis; not a number is its beginning."""
    low, high = axes.get_xlim()
    return float(low) if math.isnan(x) else min(max(x, low), high)
