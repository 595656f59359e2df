"""A corpus in which each passage says one item's code, and a question about each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

FILLER = "The canteen was closed that week. Heavy rain delayed the morning deliveries."


def write_toy(folder: Path, items: Sequence[str]) -> None:
    """corpus.jsonl and train.jsonl in FlashRAG's format."""
    corpus = [
        {"id": f"p{i}", "contents": f"Note {i}\n{FILLER} The code of {item} is k{i}."} for i, item in enumerate(items)
    ]
    train = [
        {"id": f"q{i:02d}", "question": f"What is the code of {item}?", "golden_answers": [f"k{i}"]}
        for i, item in enumerate(items)
    ]
    for name, rows in (("corpus", corpus), ("train", train)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
