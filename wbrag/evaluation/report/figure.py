"""Figures as SVG elements of a page: matplotlib draws, the page's CSS says what the colours are.

So both colour schemes and print work, and text stays text. An element needs no style of its own, which the desk's
content security policy would refuse; its ids begin with its name, so that those of two figures never meet. matplotlib
is loaded by the first figure, and one is drawn at a time: its settings belong to the process.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from html import escape
from typing import Any

from markupsafe import Markup

# Stand-ins that no figure uses otherwise.
INK, SOFT, LINE, ACCENT, WARM, PLAIN, PAPER, FAINT = (f"#00000{i}" for i in range(1, 9))
NAMES = dict(
    zip(
        (INK, SOFT, LINE, ACCENT, WARM, PLAIN, PAPER, FAINT),
        ("ink", "soft", "line", "accent", "warm", "plain", "paper", "faint"),
    )
)
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
UNITS = 72  # of an SVG of matplotlib's, in an inch
_drawing = threading.Lock()


def drawn(
    draw: Callable[[Any], None], name: str, title: str, said: str, width: float, height: float, kind: str
) -> Markup:
    """What `draw(figure)` draws, as an `<svg>` of `width` by `height`, in the units of a text's size.

    Readers who do not see it are told its `title` and what is `said`. `kind`: a class for the page's CSS.
    """
    with _drawing:
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        out = io.StringIO()
        with rc_context(STYLE | {"svg.hashsalt": name}):
            figure = Figure(figsize=(width / UNITS, height / UNITS))
            draw(figure)
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r".*?</metadata>", "", out.getvalue(), count=1, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, count=1)
    for colour, variable in NAMES.items():
        text = text.replace(colour, f"var(--{variable})")
    text = re.sub(r' style="([^"]*)"', _attributes, text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'((?: id="|xlink:href="#|url\(#))', rf"\1{name}-", text)
    return Markup(
        f'<svg viewBox="0 0 {width:g} {height:g}" class="plot {kind}" role="img" stroke-linejoin="round">'
        f"<title>{escape(title)}</title><desc>{escape(said)}</desc>{text.strip()}\n"
    )


def _attributes(style: re.Match[str]) -> str:
    """`fill: none; stroke-width: 2` as attributes; the font is the page's."""
    pairs = (pair.split(": ", 1) for pair in style[1].split("; "))
    return "".join(f' {name}="{value}"' for name, value in pairs if name != "font-family")
