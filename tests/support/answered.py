"""A library of short documents and a long one, with a release that answers: what can be exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostless import Life, open_life
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, reader

LONG = " ".join(f"Filler number {i} says nothing." for i in range(80))


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """A library of short documents and a long one, with a release."""
    texts = {f"d {i}": f"The code of {item} is k{i}. It hangs there." for i, item in enumerate(ITEMS)}
    texts["d 3"] = f"{LONG} {texts['d 3']}"
    documents = ({"id": id, "contents": f"Note\n{text}"} for id, text in texts.items())
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    asked = (
        {"id": f"q{i}", "question": f"What is the code of {x}?", "golden_answers": [f"k{i}", f"K{i}"]}
        | {"metadata": {"gold": [f"d {i}"]}}
        for i, x in enumerate(ITEMS)
    )
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(q) + "\n" for q in asked))
    with OpenAIServer(reader) as endpoint, open_life(str(tmp_path / "w"), endpoint.url) as w:
        w.ingest_corpus(tmp_path / "corpus.jsonl")
        w.ingest_examples(tmp_path / "train.jsonl", "toy", "train")
        w.index()
        w.enrich("toy/train")
        assert w.publish().units > 5
        yield w
