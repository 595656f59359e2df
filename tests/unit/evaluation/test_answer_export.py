"""Answers exported: the texts are those that were read, the qrels know pieces and units, and runs count them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.answered import life as life
from tests.support.hostless import Life
from tests.support.pipeline import ITEMS
from wbrag.core.errors import UsageError
from wbrag.data.trec import read_qrels, read_run
from wbrag.evaluation.export import FORMATS, export_answers


def export(life: Life, out: Path, format: Any, **how: Any) -> list[Any]:
    said = export_answers(life.runner, "toy/train", out, format, **how)
    assert said["questions"] == len(ITEMS) and said["failed"] == 0 and str(out) in said["files"]
    return [] if format == "trec" else [json.loads(line) for line in out.read_text().splitlines()]


def test_a_run_and_its_qrels(life: Life, tmp_path: Path) -> None:
    export(life, tmp_path / "naive.run", "trec")
    run, qrels = read_run(tmp_path / "naive.run"), read_qrels(tmp_path / "naive.qrels")
    assert len(run) == len(qrels) == len(ITEMS) and "wbrag-r0001-naive" in (tmp_path / "naive.run").read_text()
    units = {id for found in qrels.values() for id in found if id.startswith("wb-")}
    assert units == set(life.shelf.ids()), "each unit holds the gold passage of a question"
    assert {id for id in qrels["q1"] if id not in units} == {"d_1"}, "white space parts the fields of a line"
    pieces = {id for id in qrels["q3"] if id not in units}
    assert len(pieces) > 1 and all(id.startswith("d_3#") for id in pieces), "a document that was cut, by its pieces"
    missed = {q for q, hits in run.items() if qrels[q].keys().isdisjoint(id for id, _ in hits)}
    assert missed <= {"q3"}, "a question whose only trace is in one piece of a long document"
    base = tmp_path / "base.run"
    export(life, base, "trec", release="none")
    assert not any(id.startswith("wb-") for found in read_qrels(base.with_suffix(".qrels")).values() for id in found)


def test_samples_for_ragas(life: Life, tmp_path: Path) -> None:
    [first, *_] = export(life, tmp_path / "s.jsonl", "ragas")
    assert first["user_input"] == f"What is the code of {ITEMS[0]}?" and first["response"] == "k0"
    assert first["reference"] == "k0" and first["reference_context_ids"] == ["d 0"]
    assert len(first["retrieved_contexts"]) == len(first["retrieved_context_ids"]) == 5
    assert any("is k0" in text for text in first["retrieved_contexts"])


def test_the_texts_are_those_that_were_read(life: Life, tmp_path: Path) -> None:
    changed = {"id": "d 0", "contents": f"Note\nThe code of {ITEMS[0]} is new."}
    (tmp_path / "update.jsonl").write_text(json.dumps(changed) + "\n")
    life.update_corpus(tmp_path / "update.jsonl")
    [first, *_] = export(life, tmp_path / "a.jsonl", "jsonl")
    assert first["golden_answers"] == ["k0", "K0"] and first["prediction"] == "k0" and first["score"] == 1
    assert {hit["origin"] for hit in first["hits"]} == {"base", "writeback"} and all(h["text"] for h in first["hits"])
    assert all("is new" not in hit["text"] for hit in first["hits"])
    [closed, *_] = export(life, tmp_path / "c.jsonl", "jsonl", release="closed-book")
    assert closed["hits"] == []


def test_what_cannot_be_is_refused(life: Life, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ranks nothing"):
        export(life, tmp_path / "r.run", "trec", release="closed-book")
    with pytest.raises(UsageError, match="where its qrels go"):
        export(life, tmp_path / "r.qrels", "trec")
    with pytest.raises(UsageError, match=", ".join(FORMATS)):
        export(life, tmp_path / "r", "csv")
    assert not list(tmp_path.glob("r*"))
