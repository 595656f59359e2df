"""Plots take the page's colours, keep to their frame, say what they show, and load matplotlib only to draw."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import pytest

from wbrag.core.metrics import Interval
from wbrag.evaluation.report import plots
from wbrag.evaluation.report.story import Arm, Funnel, Gain

HOSTILE = '<script>alert(1)</script> "$x$" &'
Points = list[tuple[float, float]]


def gain(value: float, low: float, high: float, label: str = "gain") -> Gain:
    return Gain("gain", label, value, Interval(low, high), 0.001, 90, 20)


def size(svg: str) -> tuple[float, float]:
    [frame] = re.findall(r'<svg viewBox="0 0 (\S+) (\S+)"', svg)
    return float(frame[0]), float(frame[1])


def strokes(svg: str, look: str) -> list[Points]:
    """The points of every line that looks so."""
    paths = re.findall(
        rf'<path d="([^"]*)"[^>]*{re.escape(look)}', re.sub("<defs>.*?</defs>", "", svg, flags=re.DOTALL)
    )
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", path)] for path in paths]


def dots(svg: str) -> Points:
    """The middles of the filled marks."""
    marks = re.findall(r'<use [^>]*x="(\S+)" y="(\S+)" fill="(?!var\(--ink)[^>]*>', svg)
    return [(float(x), float(y)) for x, y in marks]


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 0.0), (0.0, 0.277), (-0.05, 0.04), (-1.0, 1.0), (-0.4, 0.0), (0.031, 0.034), (-0.3, -0.2)]
)
def test_the_axis_of_a_forest_holds_every_interval_and_zero(low: float, high: float) -> None:
    svg = plots.forest([gain((low + high) / 2, low, high)], wide=False)
    width, height = size(svg)
    [zero] = strokes(svg, 'stroke="var(--ink)" stroke-width="1.5"')
    [whisker] = strokes(svg, 'stroke="var(--ink)" stroke-width="1.75"')
    assert 0 < zero[0][0] < width and 0 < whisker[0][0] <= whisker[1][0] < width
    assert (whisker[0][0] < zero[0][0]) == (low < 0) and (whisker[1][0] > zero[0][0]) == (high > 0)
    assert all(0 < y < height for _, y in (*zero, *whisker))


def test_a_gain_stands_right_of_zero_and_a_loss_left_of_it() -> None:
    svg = plots.forest([gain(0.1, 0.07, 0.13), gain(-0.02, -0.03, -0.01)], wide=False)
    zero = strokes(svg, 'stroke="var(--ink)" stroke-width="1.5"')[0][0][0]
    assert [x > zero for x, _ in dots(svg)] == [True, False]
    assert "a clear gain" in svg and "a clear loss" in svg


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, 7.5, -2.0])
def test_what_lies_outside_is_drawn_at_the_edge(wild: float) -> None:
    arm = Arm("base", "Base", "", 9, wild, Interval(wild, 0.5))
    for svg in (
        plots.accuracy([arm], "new_facts"),
        plots.accuracy([arm]),
        plots.stages([("ask", wild), ("index", 1.0)]),
    ):
        for one in re.findall("<svg.*?</svg>", svg, re.DOTALL):
            width, height = size(one)
            for x, y in (point for path in strokes(one, "") for point in path):
                assert -1 <= x <= width + 1 and -1 <= y <= height + 1


def test_an_element_needs_no_style_of_its_own_and_ids_never_meet() -> None:
    drawn = [
        plots.forest([gain(0.1, 0.05, 0.15)], "r1"),
        plots.forest([gain(0.1, 0.05, 0.15)], "r2"),
        plots.funnel(Funnel(400, 160)),
        plots.kept_ranks({1: 3, 4: 1}),
        plots.compression([{"set": "nq", "words": [[90, 30]]}]),
    ]
    page = "".join(drawn)
    assert "style" not in page and "#0000" not in page, "the desk's policy forbids styles; a stand-in colour was left"
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([\w-]+)', page)) <= set(ids)


def test_labels_are_text_and_nothing_else() -> None:
    svg = plots.forest([gain(0.1, 0.05, 0.15, HOSTILE)])
    assert "<script" not in svg and svg.count("&lt;script&gt;") >= 4 and "$x$" in svg


def test_matplotlib_is_loaded_by_the_first_plot_alone() -> None:
    code = """
import sys
import wbrag.cli.parser, wbrag.evaluation.report.page, wbrag.serving.desk.releases
assert "matplotlib" not in sys.modules
from wbrag.evaluation.report import plots
plots.kept_ranks({1: 2})
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
