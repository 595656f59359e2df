"""The controls' documents, and a bench's records as tables, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from wbrag.core.types import PassageText
from wbrag.evaluation.bench.comparisons import correct, means
from wbrag.evaluation.bench.figures import Bench
from wbrag.evaluation.bench.libraries import copies, raw, units
from wbrag.evaluation.bench.tables import as_csv, markdown, tables

CELL = {"model": "tiny", "method": "naive", "set": "nq"}
SCORE = CELL | {"metric": "acc", "n": 4, "writeback_share": 0.5, "errors": 0, "details": {"sub_questions": 1.5}}
COST = {"calls": 1.0, "prompt_tokens": 90.0, "output_tokens": 4.0, "retrievals": 1.0, "seconds": 0.1}


def bench() -> Bench:
    comparison = CELL | {"over": "base", "gain": 0.5, "gain_ci95": [0.25, 0.75], "p": 0.01, "wins": 9, "losses": 0}
    built = CELL | {"accepted": 2, "examples": 8, "retained_docs_mean": 1.5, "source_words_mean": 150.0}
    built |= {"unit_words_mean": 50.0, "compression_mean": 3.0, "fallback_rate": 0.0}
    comparisons = [comparison, comparison | {"set": "squad", "p": 0.04}]
    correct(comparisons)
    return Bench(
        "s",
        [
            SCORE | COST | {"arm": "base", "score": 0.25, "ci95": [0.0, 0.5]},
            SCORE | COST | {"arm": "writeback", "score": 0.75, "ci95": [0.5, 1.0]},
        ],
        comparisons,
        [built],
        [],
        [],
    )


def test_every_number_is_there_once() -> None:
    text = markdown(bench())
    assert "| naive | write-back | 75.0 (50.0 to 100.0) |" in text
    assert "| naive | base | +50.0* (+25.0 to +75.0) p 0.01 |" in text
    assert "| tiny | naive | nq | 25.0% of 8 | 1.50 | 150 | 50 | 3.00x | 0.0% |" in text
    title, _, [costs] = tables(bench())[-1]
    assert title.startswith("Cost of an answer") and costs[-1] == "sub questions 1.5"


def test_a_methods_own_figures_are_averaged_over_the_answers_that_have_them() -> None:
    assert means([{"tail": 0.5, "unsure": 1.0}, {"tail": 0.25}, {}]) == {"tail": 0.375, "unsure": 1.0}


def test_csv_holds_every_record() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(bench()))))
    assert [r["record"] for r in rows] == ["score", "score", "comparison", "comparison", "construction"]
    assert [r["p_holm"] for r in rows[2:4]] == ["0.02", "0.04"]


def verdict(id: str, *sources: str, accepted: bool = True) -> dict[str, Any]:
    return {
        "id": id,
        "accepted": accepted,
        "answer_in_unit": True,
        "answer_in_sources": True,
        "sources": [{"id": s, "content_hash": ""} for s in sources],
        "unit_title": "T",
        "unit_text": f"about {sources[0]}",
    }


def test_controls_hold_what_was_retained_and_nothing_more() -> None:
    rows = [verdict("q1", "a"), verdict("q2", "a", "b"), verdict("q3", "a", "b"), verdict("q4", "c", accepted=False)]
    passages = {id: PassageText(id, f"Title {id}", f"text {id}") for id in "abc"}
    both = PassageText("raw-a+b", "Title a / Title b", "text a text b")
    assert raw(rows, passages) == [PassageText("raw-a", "Title a", "text a"), both]
    assert [d.id for d in copies(rows, passages)] == ["copy-a", "copy-b"]
    assert len(units(rows)) == 3 and len(set(units(rows))) == 1
