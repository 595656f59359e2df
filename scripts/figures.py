"""Pictures of the documentation: `python scripts/figures.py` draws `docs/img/`.

The gains are drawn from `docs/measured/demo.json` and from nothing else. The same figures give the same picture, which
a test compares. Text stays text, so that a browser sets it in its own font. Each picture comes for light pages, for
dark ones, and narrow for phones; the narrow one takes its colours from the reader's scheme by itself.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
IMAGES, DEMO = ROOT / "docs" / "img", ROOT / "docs" / "measured" / "demo.json"
WIDTH, NARROW = 800, 400  # of a picture, in its own pixels: as wide as a README's column, and as a phone
FONTS = "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"  # as GitHub's pages


@dataclass(frozen=True)
class Colours:
    """One colour scheme; the background is the page's."""

    ink: str
    soft: str
    line: str
    card: str
    accent: str
    tint: str


SCHEMES = {
    "light": Colours("#1d2228", "#5b6168", "#c9c5bb", "#f6f4ee", "#0b6b6b", "#e0efec"),
    "dark": Colours("#e9e6df", "#a4a9ae", "#454c54", "#1c2127", "#5cc4bb", "#17312e"),
}


def pictures() -> dict[str, str]:
    """Every picture by its file's name, as SVG."""
    found = json.loads(DEMO.read_text(encoding="utf-8"))["gains"]
    wide: dict[str, Callable[[Colours], Axes]] = {"method": method, "demo-gains": lambda c: gains(found, c)}
    narrow = {"method": method_narrow, "demo-gains": lambda c: gains_narrow(found, c)}
    made = {f"{name}-{scheme}.svg": _svg(draw(c)) for name, draw in wide.items() for scheme, c in SCHEMES.items()}
    light = SCHEMES["light"]
    return made | {f"{name}-narrow.svg": _in_both_schemes(_svg(draw(light))) for name, draw in narrow.items()}


# -- the method -------------------------------------------------------------------------------------------------------


STEPS = (
    ("Labelled questions", "with known answers"),
    ("1 Utility gate", "did retrieval help?"),
    ("2 Document gate", "which documents did?"),
    ("3 Distil", "one short unit"),
)


def method(c: Colours) -> Axes:
    """How units come to be, and who answers from them."""
    axes = _canvas(336)
    columns = (1, 213, 425, 637)
    _text(axes, 1, 12, "Train the library, once", c.soft, 13)
    for x, (title, note) in zip(columns, STEPS):
        _box(axes, c, x, 30, 162, 62, title, note)
    for x in columns[:-1]:
        _arrow(axes, x + 164, 61, x + 210, 61, c.ink)
    for x in columns[1:3]:
        _arrow(axes, x + 81, 196, x + 81, 96, c.soft, dashed=True)
    _text(axes, 400, 139, "asked with and", c.soft, 12, "center")
    _text(axes, 400, 155, "without documents", c.soft, 12, "center")
    _arrow(axes, 718, 94, 718, 190, c.accent, width=2.2)
    _text(axes, 708, 139, "publish what", c.accent, 12, "right")
    _text(axes, 708, 155, "passes the checks", c.accent, 12, "right")

    _text(axes, 1, 180, "Answer, as before", c.soft, 13)
    _box(axes, c, 1, 231, 162, 62, "Users", "ask, get answers")
    _box(axes, c, 213, 196, 374, 114, "", "", dashed=True)
    _text(axes, 400, 215, "Your RAG system, unchanged", c.soft, 13, "center")
    _box(axes, c, 229, 231, 148, 62, "Language model", "reads the best hits")
    _box(axes, c, 423, 231, 148, 62, "Retriever", "searches both as one")
    _arrow(axes, 166, 262, 226, 262, c.ink, both=True)
    _arrow(axes, 380, 262, 420, 262, c.ink, both=True)
    _box(axes, c, 637, 194, 162, 62, "Write-back index", "distilled units", filled=True)
    _box(axes, c, 637, 268, 162, 62, "Corpus index", "never touched")
    _arrow(axes, 574, 255, 634, 228, c.accent, both=True)
    _arrow(axes, 574, 270, 634, 296, c.ink, both=True)
    return axes


def method_narrow(c: Colours) -> Axes:
    """The same from top to bottom."""
    axes = _canvas(668, NARROW)
    _text(axes, 1, 12, "Train the library, once", c.soft, 13)
    for row, (title, note) in enumerate(STEPS):
        _box(axes, c, 1, 28 + 80 * row, 230, 58, title, note)
        if row:
            _arrow(axes, 116, 8 + 80 * row, 116, 26 + 80 * row, c.ink)
    axes.plot([372, 372], [462, 137], color=c.soft, linewidth=1.4, linestyle=(0, (3, 3)))
    for y in (137, 217):
        _arrow(axes, 372, y, 236, y, c.soft, dashed=True)
    _text(axes, 364, 170, "asked with and", c.soft, 12, "right")
    _text(axes, 364, 186, "without documents", c.soft, 12, "right")
    _arrow(axes, 80, 328, 80, 376, c.accent, width=2.2)
    _text(axes, 92, 352, "publish what passes the checks", c.accent, 12)
    _box(axes, c, 1, 380, 160, 58, "Write-back index", "distilled units", filled=True)
    _box(axes, c, 185, 380, 160, 58, "Corpus index", "never touched")
    _arrow(axes, 93, 442, 93, 490, c.accent, both=True)
    _arrow(axes, 230, 442, 160, 490, c.ink, both=True)
    _box(axes, c, 1, 464, 398, 114, "", "", dashed=True)
    _text(axes, 17, 565, "Your RAG system, unchanged", c.soft, 13)
    _box(axes, c, 17, 494, 160, 58, "Retriever", "searches both as one")
    _box(axes, c, 223, 494, 160, 58, "Language model", "reads the best hits")
    _arrow(axes, 180, 523, 220, 523, c.ink, both=True)
    _arrow(axes, 303, 556, 303, 606, c.ink, both=True)
    _box(axes, c, 223, 608, 160, 58, "Users", "ask, get answers")
    return axes


def _box(
    axes: Axes,
    c: Colours,
    x: float,
    y: float,
    width: float,
    height: float,
    title: str,
    note: str,
    *,
    filled: bool = False,
    dashed: bool = False,
) -> None:
    """A box with its upper left corner at (x, y), a name and what it does."""
    axes.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=8",
            facecolor="none" if dashed else c.tint if filled else c.card,
            edgecolor=c.accent if filled else c.line,
            linewidth=1.6 if filled else 1.1,
            linestyle=(0, (4, 3)) if dashed else "-",
        )
    )
    middle = x + width / 2
    _text(axes, middle, y + height / 2 - 10, title, c.ink, 14, "center", bold=True)
    _text(axes, middle, y + height / 2 + 11, note, c.soft, 12.5, "center")


def _arrow(
    axes: Axes,
    x: float,
    y: float,
    to_x: float,
    to_y: float,
    colour: str,
    *,
    width: float = 1.4,
    both: bool = False,
    dashed: bool = False,
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            (x, y),
            (to_x, to_y),
            arrowstyle="<|-|>" if both else "-|>",
            mutation_scale=11,
            shrinkA=0,
            shrinkB=0,
            color=colour,
            linewidth=width,
            linestyle=(0, (3, 3)) if dashed else "-",
        )
    )


# -- the demo ---------------------------------------------------------------------------------------------------------


def gains(found: list[dict[str, Any]], c: Colours) -> Axes:
    """A forest plot: each gain with its 95% interval; hollow where it is not beyond chance."""
    axes = _canvas(38 * len(found) + 40)
    heights = [20 + 38 * row for row in range(len(found))]
    for y, gain in zip(heights, found):
        _text(axes, 1, y, gain["label"], c.ink, 13.5)
    _forest(axes, c, found, heights, (318, 640))
    return axes


def gains_narrow(found: list[dict[str, Any]], c: Colours) -> Axes:
    """The same with every label above its interval."""
    axes = _canvas(56 * len(found) + 36, NARROW)
    heights = [36 + 56 * row for row in range(len(found))]
    for y, gain in zip(heights, found):
        _text(axes, 1, y - 24, gain["label"], c.ink, 13.5)
    _forest(axes, c, found, heights, (10, 226), label=22)
    return axes


def _forest(
    axes: Axes,
    c: Colours,
    found: list[dict[str, Any]],
    heights: list[int],
    span: tuple[int, int],
    label: int = 0,
) -> None:
    """Dots and intervals within `span`, figures beside them, one axis below; zero's line leaves room for a `label`."""
    left, right = span
    low = min(0.0, *(gain["ci95"][0] for gain in found))
    high = max(gain["ci95"][1] for gain in found)

    def x(share: float) -> float:
        return left + (right - left) * (share - low) / (high - low)

    bottom = heights[-1] + 26
    for y, below in zip(heights, [*(next - label for next in heights[1:]), bottom + 14]):
        axes.plot([x(0), x(0)], [y - 14, below - 14], color=c.soft, linewidth=1.2, solid_capstyle="butt")
    for points in range(-10, 20, 2):
        if low <= points / 100 <= high:
            at = x(points / 100)
            axes.plot([at, at], [bottom, bottom + 5], color=c.soft, linewidth=1)
            _text(axes, at, bottom + 16, f"{points:+d}" if points else "0", c.soft, 12, "center")
    _text(axes, right + 22, bottom + 16, "points", c.soft, 12)
    for y, gain in zip(heights, found):
        beyond = gain["p"] < 0.05
        colour, face = (c.accent, c.accent) if beyond else (c.soft, c.card)
        axes.plot([x(end) for end in gain["ci95"]], [y, y], color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot([x(gain["gain"])], [y], "o", markersize=9, color=face, markeredgecolor=colour, markeredgewidth=2)
        ends = " to ".join(f"{100 * end:+.1f}" for end in gain["ci95"])
        _text(axes, right + 22, y, f"{100 * gain['gain']:+.1f}", c.ink, 13.5, bold=True)
        _text(axes, right + 64, y, f"({ends})", c.soft, 12.5)


# -- SVG --------------------------------------------------------------------------------------------------------------


def _canvas(height: int, width: int = WIDTH) -> Axes:
    """Axes in pixels, from the upper left corner, with nothing drawn."""
    figure = plt.figure(figsize=(width / 72, height / 72), facecolor="none")  # matplotlib's SVG has 72 units an inch
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return axes


def _text(
    axes: Axes, x: float, y: float, text: str, colour: str, size: float, align: str = "left", *, bold: bool = False
) -> None:
    """One line about the height `y`, placed by its baseline: no font's measures decide where it stands."""
    weight = "bold" if bold else "normal"
    axes.text(x, y + 0.35 * size, text, color=colour, size=size, weight=weight, ha=align, va="baseline")


def _svg(axes: Axes) -> str:
    out = io.StringIO()
    axes.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    plt.close(axes.figure)
    text = re.sub(r"font-family: [^;\"]*", f"font-family: {FONTS}", out.getvalue())
    text = re.sub(r'(width|height)="(\d+)pt"', r'\1="\2"', text)  # a point is larger than a pixel
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _in_both_schemes(svg: str) -> str:
    """The light picture `svg` with its colours as variables, which the reader's colour scheme sets."""
    schemes = {scheme: asdict(c) for scheme, c in SCHEMES.items()}
    for name, colour in schemes["light"].items():
        svg = svg.replace(colour, f"var(--{name})")
    light, dark = (" ".join(f"--{name}: {colour};" for name, colour in c.items()) for c in schemes.values())
    style = f":root {{ {light} }} @media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    return svg.replace('<style type="text/css">', f'<style type="text/css">{style} ', 1)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, text in pictures().items():
        (IMAGES / name).write_text(text, encoding="utf-8")


plt.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "wbrag", "font.family": "DejaVu Sans"}
)  # it comes with matplotlib

if __name__ == "__main__":
    main()
