"""What stands in for a model of the paper's accuracy passes the real gates at the paper's shares."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.benchmarks import benchmark
from tests.support.fakes import SimilarityEncoder, TableRetriever
from tests.support.scripted import ScriptedGenerator
from wbrag.core.config import load
from wbrag.core.tasks import task
from wbrag.core.types import Example, Hit, Messages, Sampling
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import Enricher
from wbrag.enrich.rows import verdict_row
from wbrag.evaluation.estimate.calls import shares_of, words_of
from wbrag.generators import model_path
from wbrag.methods import Rag, method

COUNT = 600


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_gates_see_the_papers_shares_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = benchmark("lib.paper_sized", monkeypatch)
    shares, words = paper.sizes()
    script = paper.Script(shares, words, str(Path(model_path(load().generator)) / "tokenizer.json"))
    paper.write_questions(tmp_path, COUNT, 5 * COUNT)
    texts = [row["contents"].partition("\n") for row in lines(tmp_path / "corpus.jsonl")]
    hits = [Hit(f"p{n}", title, text, 0.5) for n, (title, _, text) in enumerate(texts)]
    asked = [
        Example(row["id"], row["question"], tuple(row["golden_answers"]), "nq")
        for row in lines(tmp_path / "train.jsonl")
    ]
    found = {example.question: hits[5 * n : 5 * n + 5] for n, example in enumerate(asked)}
    assert len(found) == COUNT

    def reply(messages: Messages, sampling: Sampling) -> str:
        return script.reply(messages)  # type: ignore[no-any-return]

    gate = load().enrich
    generator = ScriptedGenerator(reply)
    rag = Rag(generator, TableRetriever(found), task("nq"), gate.top_k)
    enricher = Enricher(method("naive"), rag, Distiller(generator, SimilarityEncoder({}), gate), gate)

    async def run() -> list[dict[str, Any]]:
        return [verdict_row(await enricher.enrich(example)) for example in asked]

    rows = asyncio.run(run())
    seen, sizes = shares_of(rows, gate.top_k), words_of(rows, 0)
    assert seen.closed_book == pytest.approx(shares.closed_book, abs=0.06)
    assert seen.accepted == pytest.approx(shares.accepted, abs=0.05)
    assert seen.retained == pytest.approx(shares.retained, abs=0.3)
    assert not any(row["evidence_fallback"] or row["rewrite_fallback"] for row in rows)
    assert sum(len(f"{h.title} {h.text}".split()) for h in hits) / len(hits) == pytest.approx(words.passage, rel=0.05)
    assert (sizes.question, sizes.answer) == (pytest.approx(words.question, abs=1.5), words.answer)
    assert sizes.evidence == pytest.approx(words.evidence, rel=0.2) and sizes.unit == pytest.approx(words.unit, rel=0.1)


def test_an_8b_architecture_has_8b_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert benchmark("lib.paper_sized", monkeypatch).LLAMA_8B.parameters == pytest.approx(8.03e9, rel=0.001)
