"""A suite's page: whole, self-contained, trusting no text, and readable in both colour schemes."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat

from tests.support.browser import rendered, screenshot
from wbrag.core.errors import WbragError
from wbrag.core.types import Unit
from wbrag.enrich.enrich import Verdict, WrittenUnit
from wbrag.enrich.row_files import write_rows
from wbrag.enrich.rows import verdict_row
from wbrag.evaluation.bench.comparisons import correct
from wbrag.evaluation.bench.figures import Bench
from wbrag.evaluation.bench.page import headline, of_run, provenance, read_bench, render, write_report

HOSTILE = '<script>alert(1)</script><img src="https://example.org/x.png">'


def bench() -> Bench:
    rng = random.Random(1)
    scores, comparisons, construction, points = [], [], [], []
    for method in ("naive", "replug"):
        cell: dict[str, Any] = {"model": "tiny", "method": method, "set": "nq"}
        cost = {"calls": 1.0, "prompt_tokens": 900.0, "output_tokens": 5.0, "retrievals": 1.0, "seconds": 0.3}
        for arm, score in (("closed_book", 0.2), ("base", 0.3), ("writeback", 0.4), ("control_raw", 0.31)):
            found = {
                "score": score,
                "ci95": [score - 0.05, score + 0.05],
                "writeback_share": 0.2,
                "errors": 0,
                "details": {"tail": 0.01},
            }
            scores.append(cell | cost | found | {"arm": arm, "metric": "acc", "n": 300})
        for over, gain in (("closed_book", 0.2), ("base", 0.1), ("control_raw", 0.09)):
            found = {"gain": gain, "gain_ci95": [gain - 0.04, gain + 0.04], "wins": 40, "losses": 10}
            comparisons.append(cell | found | {"over": over, "p": 0.001 if method == "naive" else 0.2})
        built = {
            "accepted": 60,
            "examples": 300,
            "quarantined": 0,
            "closed_book_suffices": 99,
            "retrieval_did_not_help": 141,
        }
        built |= {
            "retained_docs_mean": 1.8,
            "source_words_mean": 180.0,
            "unit_words_mean": 60.0,
            "units": 55,
            "quarantined": 0,
        }
        built |= {"compression_mean": 3.0, "fallback_rate": 0.1, "retained_ranks": [30, 20, 10, 5, 1]}
        built |= {"units": 55, "quarantined": 0}
        words = [[rng.randint(80, 300), rng.randint(20, 90)] for _ in range(55)]
        construction.append(cell | built | {"words": words, "leaking": ["q7"]})
        for value in (0, 0.1, 0.2):
            gain = rng.uniform(0.0, 0.1)
            found = {"score": 0.4, "ci95": [0.3, 0.5], "gain": gain, "gain_ci95": [gain - 0.03, gain + 0.03]}
            points.append(cell | found | {"study": "tau_s", "value": value, "units": 50, "p": 0.01, "n": 300})
    context = [{"origin": "writeback", "title": HOSTILE, "text": HOSTILE, "score": 0.7}]
    changed = {"model": "tiny", "method": "naive", "set": "nq", "id": "q1", "question": HOSTILE, "golden": ["kite"]}
    changed |= {"better": True, "base_answer": "", "writeback_answer": HOSTILE}
    changed |= {"base_context": [], "writeback_context": context}
    correct(comparisons)
    return Bench(
        "toy",
        scores,
        comparisons,
        construction,
        points,
        [changed],
        {"seed": 7, "settings": {"encoder": {"dtype": HOSTILE}}, "empty": {}},
    )


def test_the_page_stands_alone_and_trusts_no_text() -> None:
    html = render(bench())
    assert "<script" not in html and "<img" not in html and "&lt;script&gt;" in html
    outside = [part for part in ("http://", "https://") if part in html.replace("http://www.w3.org", "")]
    assert outside == ["https://"] and html.count("https://") == html.count("https://example.org")  # the hostile text
    assert "#00000" not in html, "a stand-in colour was left"


def test_what_it_takes_to_repeat_it_is_on_the_page() -> None:
    assert provenance(bench()) == [("seed", "7"), ("settings", f"encoder.dtype {HOSTILE}")]
    assert "How it was made" in render(bench())


def test_ids_of_different_plots_never_meet() -> None:
    import re

    ids = re.findall(r'\bid="([^"]+)"', render(bench()))
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:href="#|url\(#)([\w-]+)', render(bench()))
    assert set(targets) <= set(ids)


def test_the_headline_counts_and_never_flatters() -> None:
    assert headline(bench()) == "Write-back clearly gains in 1 of 2 settings; 1 of them also beat every control (raw)"
    turned = {"wins": 10, "losses": 40}
    lost = [r | turned | {"gain": -r["gain"]} if r["over"] == "base" else r for r in bench().comparisons]
    assert headline(replace(bench(), comparisons=lost)) == (
        "Write-back clearly gains in 0 of 2 settings and loses in 1; 0 of them also beat every control (raw)"
    )


def test_figures_come_back_and_the_page_is_drawn_again(tmp_path: Path) -> None:
    page = write_report(bench(), tmp_path)
    before = page.read_text(encoding="utf-8")
    page.unlink()
    assert read_bench(tmp_path / "toy.json") == bench()
    assert write_report(read_bench(tmp_path / "toy.json"), tmp_path).read_text(encoding="utf-8") == before
    with pytest.raises(WbragError, match="wbrag bench"):
        read_bench(tmp_path / "other.json")


def test_an_enrichment_run_alone_has_a_page(tmp_path: Path) -> None:
    written = WrittenUnit(Unit("Kites", HOSTILE, ("q1",), (), ()), False, False, 40, 12)
    scores: dict[str, Any] = {"s_nr": 0.0, "s_rag": 1.0, "s_doc": (0.0, 1.0)}
    kept = Verdict("q1", HOSTILE, "qa", True, "accepted", **scores, retained=(1,), written=written)
    failed = Verdict("q2", "?", "qa", False, "error", error="no reply")
    write_rows(tmp_path / "abc", "enrich", [verdict_row(kept), verdict_row(failed)])
    with pytest.raises(WbragError, match="wbrag enrich"):
        of_run(tmp_path / "abc")
    config = {"generator": {"model": HOSTILE}, "enrich": {"top_k": 2}}
    made = {"examples": "nq/train", "method": "naive", "config": config}
    (tmp_path / "abc" / "run.json").write_text(json.dumps(made), encoding="utf-8")
    found = of_run(tmp_path / "abc")
    [built] = found.construction
    assert (built["examples"], built["quarantined"], built["units"], built["words"]) == (2, 1, 1, [[40, 12]])
    html = write_report(found, tmp_path).read_text(encoding="utf-8")
    assert "1 of 2 questions were accepted and became 1 units" in html and "<script" not in html
    assert 'id="gains"' not in html and 'id="changed"' not in html


def test_chromium_shows_it_in_both_colour_schemes(tmp_path: Path) -> None:
    page = write_report(bench(), tmp_path)
    dom = rendered(page, tmp_path / "profile")
    assert dom.count('<svg viewBox="') == 5 and "Gain over the base library" in dom

    def brightness(picture: Path) -> float:
        return float(ImageStat.Stat(Image.open(picture).convert("L")).mean[0])

    light = brightness(screenshot(page, tmp_path / "light.png"))
    dark = brightness(screenshot(page, tmp_path / "dark.png", dark=True))
    assert light > 200 and dark < 60
