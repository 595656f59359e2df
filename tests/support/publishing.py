"""A workspace with a canary, and units that pass or fail their checks, for tests of publishing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wbrag.core.config import load
from wbrag.core.io.files import write_atomically
from wbrag.core.types import Evidence, Passage, Unit
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest
from wbrag.workspace import Workspace

QUESTIONS = 12
NOTE = Passage("p", "Note", "It is right, or right too, or nonsense.")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    w = Workspace(tmp_path, load(canary={"examples": "toy/dev"}))
    encoder = encoder_fingerprint(w.config.encoder)
    manifest = w.path / "index" / "base-x.json"
    digest = Manifest(encoder, "embedded", 3, "SQfp16", ()).write(manifest)
    pointer = {"manifest": "index/base-x.json", "sha256": digest, "corpus": "x"}
    write_atomically(w.path / "index" / "base.json", json.dumps(pointer))
    rows = [{"id": f"q{i}", "question": f"which {i}?", "golden_answers": ["right"]} for i in range(QUESTIONS)]
    write_atomically(tmp_path / "dev.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    w.ingest_examples(tmp_path / "dev.jsonl", "toy", "dev")
    write_atomically(tmp_path / "corpus.jsonl", json.dumps({"id": NOTE.id, "contents": NOTE.contents}) + "\n")
    w.ingest_corpus(tmp_path / "corpus.jsonl")
    return w


def shelve(w: Workspace, text: str, angle: float, *, passed: bool = True) -> str:
    """A unit that its evidence supports, or not; examined under the workspace's settings."""
    evidence = (Evidence(NOTE.id, text if passed else "Something else."),)
    unit = Unit("Note", text, ("q0",), ((NOTE.id, NOTE.content_hash),), evidence)
    vector = np.array([[np.cos(angle), np.sin(angle), 0]], dtype=np.float32)
    w.shelf.add([unit], vector, encoder_fingerprint(w.config.encoder), 0.97)
    w.library.checking.examine([unit.id], lambda units: {})
    found = w.results.latest([unit.id])[unit.id]
    assert found.passed == passed, found.failed
    return unit.id
