"""Benchmark plots: matplotlib figures as SVG for a page.

Colours are the page's own CSS variables, so that both colour schemes and print work.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Record = dict[str, Any]
# Stand-ins that no plot uses otherwise; the page's CSS says what they are in each colour scheme.
INK, SOFT, LINE, ACCENT, WARM, PLAIN, PAPER = (f"#00000{i}" for i in range(1, 8))
NAMES = {INK: "ink", SOFT: "soft", LINE: "line", ACCENT: "accent", WARM: "warm", PLAIN: "plain", PAPER: "paper"}
SERIES = (
    (ACCENT, "-", "o"),
    (WARM, "--", "s"),
    (PLAIN, "-.", "^"),
    (INK, ":", "D"),
    (SOFT, "-", "v"),
    (ACCENT, ":", "x"),
)
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
WIDTH = 8.6  # inches: the page's column


def name_of(r: Record, rows: Sequence[Record]) -> str:
    """The cell's name, without the parts that all rows share."""
    parts = [r[key] for key in ("set", "method", "model") if len({row[key] for row in rows}) > 1]
    return ", ".join(parts) or str(r["set"])


def gains(rows: Sequence[Record]) -> str:
    """Gain of write-back over the base by cell, with 95% intervals; filled where it is `clear`."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.34 * len(rows)))
        for y, r in enumerate(rows):
            clear = r["clear"]
            colour = (ACCENT if r["gain"] > 0 else WARM) if clear else SOFT
            low, high = (100 * end for end in r["gain_ci95"])
            axes.plot([low, high], [y, y], color=colour, linewidth=1.8)
            axes.plot(100 * r["gain"], y, "o", color=colour, markerfacecolor=colour if clear else PAPER, markersize=7)
        axes.axvline(0, color=INK, linewidth=1.2)
        axes.set_yticks(range(len(rows)), [name_of(r, rows) for r in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("gain over the base library, in points")
        return _svg(figure, "gains")


def curves(points: Sequence[Record], study: str) -> str:
    """Gain against the study's value, a line a cell, bands of 95%."""
    cells = list(dict.fromkeys(name_of(r, points) for r in points))
    labels = list(dict.fromkeys(str(r["value"]) for r in points))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH / 2, 2.9))
        for i, cell in enumerate(cells):
            rows = [r for r in points if name_of(r, points) == cell]
            colour, line, mark = SERIES[i % len(SERIES)]
            x = [labels.index(str(r["value"])) for r in rows]
            axes.plot(x, [100 * r["gain"] for r in rows], line, marker=mark, color=colour, label=cell, markersize=5)
            low, high = ([100 * r["gain_ci95"][end] for r in rows] for end in (0, 1))
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.axhline(0, color=INK, linewidth=1)
        axes.set_xticks(range(len(labels)), labels, rotation=30 if max(map(len, labels)) > 8 else 0)
        axes.set_xlabel(study.replace("_", " "))
        axes.set_ylabel("gain, points")
        _legend(axes, cells)
        return _svg(figure, f"study-{study}")


def ranks(construction: Sequence[Record]) -> str:
    """Share of the retained documents by retrieval rank (paper, Fig. 3), a line a set."""
    by_set = _by_set(construction, "retained_ranks")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH / 2, 2.9))
        for i, (name, lists) in enumerate(by_set.items()):
            counts = [sum(found) for found in zip_longest(*lists, fillvalue=0)]
            colour, line, mark = SERIES[i % len(SERIES)]
            shares = [100 * n / max(1, sum(counts)) for n in counts]
            axes.plot(range(1, len(shares) + 1), shares, line, marker=mark, color=colour, label=name)
            axes.set_xticks(range(1, len(shares) + 1))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("retrieval rank")
        axes.set_ylabel("% of retained documents")
        _legend(axes, by_set)
        return _svg(figure, "ranks")


def compression(construction: Sequence[Record]) -> str:
    """Words of the sources against words of the unit, a dot a unit."""
    by_set = _by_set(construction, "words")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH / 2, 2.9))
        for i, (name, lists) in enumerate(by_set.items()):
            colour, _, mark = SERIES[i % len(SERIES)]
            pairs = [pair for found in lists for pair in found]
            source, unit = zip(*pairs) if pairs else ((), ())
            axes.plot(source, unit, mark, color=colour, markersize=3.5, alpha=0.6, label=name)
        most = max([*axes.get_xlim(), 1.0])
        axes.plot([0, most], [0, most], color=PLAIN, linewidth=1, linestyle=":")
        axes.set_xlim(0, most)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("words of the retained passages")
        axes.set_ylabel("words of the unit")
        _legend(axes, by_set)
        return _svg(figure, "compression")


def _by_set(construction: Sequence[Record], field: str) -> dict[str, list[Any]]:
    """`field` of every method and model, by set."""
    found: dict[str, list[Any]] = {}
    for r in construction:
        found.setdefault(r["set"], []).append(r[field])
    return found


def _legend(axes: Any, names: Collection[str]) -> None:
    """Above the plot, where it hides nothing; none for a single series."""
    if len(names) > 1:
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)


def _svg(figure: Any, name: str) -> str:
    """The figure as an `<svg>` element for a page: its colours are CSS variables, its ids its own."""
    out = io.StringIO()
    with plt.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in NAMES.items():
        text = text.replace(colour, f"var(--{variable})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'((?:xlink:href="|url\()#)', rf"\1{name}-", text)
    return re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" class="plot" role="img">', text, count=1)
