"""The page stands alone, trusts no text, and never claims more than the numbers show."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from wbrag.core.metrics import Interval
from wbrag.evaluation.report.page import render_page, write_page
from wbrag.evaluation.report.story import (
    Arm,
    Calls,
    Changed,
    Context,
    ExampleUnit,
    Funnel,
    Gain,
    Provenance,
    Score,
    SourcePassage,
    Story,
)
from wbrag.evaluation.report.wording import chance, duration, headline, percent, points

HOSTILE = '<script>alert(1)</script> & "quoted" <img src="https://example.org/x.png"> url(https://example.org/y)'
ENDS = {"stop": 1804, "length": 96}
VOID = {"meta", "link", "input", "br", "img"}


def arm(name: str, score: float) -> Arm:
    half = Score(300, score, Interval(score - 0.05, score + 0.05))
    interval = Interval(score - 0.04, score + 0.04)
    return Arm(name, name.replace("_", " "), "what it holds", 600, score, interval, half, half)


def gain(name: str, value: float, half_width: float = 0.03, p: float = 0.001) -> Gain:
    return Gain(name, name.replace("_", " "), value, Interval(value - half_width, value + half_width), p, 90, 20)


def story(*gains: Gain) -> Story:
    context = (Context("writeback", "Unit", HOSTILE, 0.9), Context("base", HOSTILE, "text", 0.8))
    names = {"closed_book": 0.2, "base": 0.5, "writeback": 0.62, "control_raw": 0.51, "control_copies": 0.5}
    clear = (gain("gain", 0.12), gain("gain_over_control_raw", 0.11), gain("gain_over_control_copies", 0.12))
    stages = (("build", 65.0), ("ask", 1.5))
    return Story(
        arms=tuple(arm(name, score) for name, score in names.items()),
        gains=gains or clear,
        funnel=Funnel(
            400, 160, 100, 138, 2, 158, 8, 150, Calls(1900, 2800, 900), 1.8, 0.1, 3.2, {"stop": 1804, "length": 96}
        ),
        writeback_share=0.3,
        retained_ranks={1: 100, 2: 50, 5: 7},
        units=(ExampleUnit("Who?", HOSTILE, HOSTILE, (SourcePassage(HOSTILE, "note-1", HOSTILE),)),) * 2,
        changed=(
            Changed("q1", "reworded", HOSTILE, ("right",), "wrong", HOSTILE, True, context[1:], context),
            Changed("q2", "new_facts", "Where?", ("right", "also"), "right", "wrong", False, context[1:], context),
        ),
        provenance=Provenance(model=HOSTILE, seeds={"world": 1}, versions={"wbrag": "1"}, stages=stages),
    )


class Page(HTMLParser):
    """Every tag with its attributes; tags that are closed out of order fail at once."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_says_how_replies_ended() -> None:
    page = render_page(story())
    assert "of 1,900 replies came to their own end; 96 cut at their limit" in page and "1,804" in page
    assert Funnel(ends={"stop": 2, "thinking stripped": 2}).other_ends == "2 stripped of their thinking"
    assert Funnel(ends={"stop": 2}).other_ends == "none cut or empty"


def test_the_page_is_written_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    write_page(story(), tmp_path / "new" / "page.html")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["page.html"]
    html = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in {"script", "img", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
        assert not [name for name in attributes if name.startswith("on")]
        assert "url(" not in attributes.get("style", "")
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert "url(" not in style and "@import" not in style and "&#" not in style
    anchors = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert anchors <= set(ids) and len(ids) == len(set(ids))


def test_texts_are_escaped() -> None:
    html = render_page(story())
    assert "<script" not in html and "<img" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_every_chart_says_what_it_shows() -> None:
    for svg in re.findall(r"<svg.*?</svg>", render_page(story()), re.DOTALL):
        assert 'aria-hidden="true"' in svg or ("<title" in svg and "<desc" in svg and 'role="img"' in svg)


@pytest.mark.parametrize("low, high", [(-0.01, 0.03), (0.0, 0.02), (-0.03, 0.01)])
def test_an_interval_that_includes_zero_is_no_gain(low: float, high: float) -> None:
    doubtful = Gain("gain", "gain", (low + high) / 2, Interval(low, high), 0.3, 20, 14)
    head = headline(story(doubtful, gain("gain_over_control_raw", 0.1)))
    assert head.mood == "unclear"
    assert head.title.startswith("Not shown") and "interval includes zero" in head.title
    assert "Not shown" in render_page(story(doubtful))


def test_a_p_value_that_does_not_rule_chance_out_is_no_gain() -> None:
    head = headline(story(gain("gain", 0.05, 0.04, p=0.07)))
    assert head.mood == "unclear" and "does not rule chance out" in head.title and "includes zero" not in head.title


def test_a_loss_is_called_worse() -> None:
    head = headline(story(gain("gain", -0.1)))
    assert head.mood == "no" and "answers worse, by 10.0 points" in head.title


@pytest.mark.parametrize("control", [gain("gain_over_control_raw", 0.01, p=0.4), gain("gain_over_control_raw", -0.1)])
def test_a_control_that_is_not_beaten_is_named(control: Gain) -> None:
    head = headline(story(gain("gain", 0.1), control, gain("gain_over_control_copies", 0.1)))
    assert head.mood == "partly" and "not shown to be better than with “control raw”" in head.title
    assert "copies" not in head.title


def test_a_gain_without_controls_says_so() -> None:
    head = headline(story(gain("gain", 0.1)))
    assert head.mood == "partly" and "not tested against a control" in head.title


def test_a_gain_over_every_control_is_a_yes() -> None:
    head = headline(story())
    assert head.mood == "yes" and "by 12.0 points" in head.title
    assert "50.0% on 600" in head.details[0] and "62.0%" in head.details[0]


def test_an_empty_story_makes_a_page() -> None:
    html = render_page(Story())
    Page(html)
    assert "Nothing can be said yet" in html and not re.search(r"\bnan\b", html)
    assert json.loads(json.dumps(Story().to_json(), allow_nan=False))["funnel"]["fallback_rate"] is None


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, 0.0, 7.5, -2.0])
def test_numbers_are_well_formed(wild: float) -> None:
    arms = (arm("base", wild), arm("writeback", 0.5))
    odd = replace(story(gain("gain", wild, p=wild)), arms=arms, retained_ranks={})
    html = render_page(odd)
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL), re.IGNORECASE)
    json.dumps(odd.to_json(), allow_nan=False)


def test_json_holds_everything_in_plain_types() -> None:
    plain = json.loads(json.dumps(story().to_json(), allow_nan=False))
    assert plain["gains"][0]["ci95"] == pytest.approx([0.09, 0.15])
    assert plain["retained_ranks"] == {"1": 100, "2": 50, "5": 7}
    assert plain["arms"][1]["reworded"]["n"] == 300


def test_numbers_read_well() -> None:
    assert (points(0.113), points(-0.02), points(-0.0001), percent(0.6321)) == ("+11.3", "−2.0", "0.0", "63.2%")
    assert (chance(0.0004).split(), chance(0.0321).split()) == (["p", "<", "0.001"], ["p", "=", "0.032"])
    assert (duration(1.26), duration(59.97), duration(3725)) == ("1.3 s", "1 min 00 s", "1 h 02 min")
