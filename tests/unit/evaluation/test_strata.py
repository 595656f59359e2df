"""Strata: what a held-out question shares with the training questions; halves: by the hash of an id."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbrag.core.config import load
from wbrag.core.types import Example
from wbrag.evaluation.bench.suite import DatasetSource
from wbrag.evaluation.strata import counts, strata, touching
from wbrag.units.layout import Layout

CORPUS = "".join(
    f'{{"id": "{id}", "contents": "{title}\\n{text}"}}\n'
    for id, title, text in (
        ("a1", "Mirrow", "The lighthouse of Mirrow."),
        ("a2", "mirrow", "The quay of Mirrow."),
        ("b1", "Tarn", "Tarn lies by the sea. " + "It is old. " * 300),
        ("c1", "Odran", "Odran keeps bees."),
    )
)


def asked(id: str, *gold: str) -> Example:
    return Example(id, f"{id}?", ("x",), "qa", {"gold": list(gold)} if gold else {})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "corpus.jsonl").write_text(CORPUS)
    found = Layout(tmp_path / "w", load())
    found.ingest_corpus(tmp_path / "corpus.jsonl")
    for split, rows in (
        ("train", [("q1", "a1")]),
        ("dev", [("q2", "a1"), ("q3", "a2"), ("q4", "c1"), ("q5", "b1")]),
    ):
        lines = (
            f'{{"id": "{q}", "question": "{q}?", "golden_answers": ["x"], "metadata": {{"gold": ["{g}"]}}}}'
            for q, g in rows
        )
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
        found.ingest_examples(tmp_path / f"{split}.jsonl", "toy", split)
    return found


def test_a_passage_an_article_or_neither(layout: Layout) -> None:
    found = strata(layout, [asked("p", "c1", "a1"), asked("a", "a2"), asked("n", "c1"), asked("u")], [asked("t", "a1")])
    assert found == {"p": "same passage", "a": "same article", "n": "neither", "u": "unknown"}
    assert counts(found) == dict.fromkeys(("same passage", "same article", "neither", "unknown"), 1)


def test_a_document_that_was_cut_keeps_its_article(layout: Layout) -> None:
    assert layout.passages(["b1#0"]) and not layout.passages(["b1"])
    assert strata(layout, [asked("x", "b1")], [asked("t", "b1")]) == {"x": "same passage"}
    assert strata(layout, [asked("x", "gone")], [asked("t", "b1")]) == {"x": "neither"}


def test_a_set_says_what_its_splits_share(layout: Layout) -> None:
    assert touching(layout, "toy/dev") == {"toy/train": {"same passage": 1, "same article": 1, "neither": 2}}
    assert touching(layout, "toy/train") == {"toy/dev": {"same passage": 1}}


def test_halves_are_drawn_by_id_and_make_the_whole() -> None:
    tuning, report, whole = (DatasetSource(path="x", half=half) for half in ("tuning", "report", None))
    examples = [asked(f"q{i}") for i in range(400)]
    first = {e.id for e in examples if tuning.holds(e)}
    assert 160 < len(first) < 240 and all(whole.holds(e) for e in examples)
    assert {e.id for e in examples if report.holds(e)} == {e.id for e in examples} - first
