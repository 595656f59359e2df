"""English question sets: training samples from data in FlashRAG's format (optional: `--english FOLDER`).

The folder holds `corpus.jsonl.gz` and `<set>/train.jsonl` with gold passage ids in `metadata.gold`.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.demo_model.samples import Sample, dialogue, documents_block
from wbrag.core.prompts import render

TASKS = ("nq", "squad", "hotpotqa", "boolq", "fever", "zsre")


class English:
    """Questions with their gold passages in memory; call it for one sample."""

    def __init__(self, folder: Path) -> None:
        self.examples = {task: _jsonl(folder / task / "train.jsonl") for task in TASKS}
        self.dev = {task: _jsonl(folder / task / "dev.jsonl") for task in TASKS}
        self.passages = dict(_passages(folder / "corpus.jsonl.gz"))
        self.ids = list(self.passages)

    def __call__(self, rng: random.Random, documents: int | None = None) -> Sample:
        task = rng.choices(TASKS, weights=(6, 2, 1, 1, 1, 1))[0]
        return self.sample(rng, task, rng.choice(self.examples[task]), documents or rng.choice((1, 1, 2, 3)))

    def sample(self, rng: random.Random, task: str, example: dict[str, Any], documents: int) -> Sample:
        """`example` behind its gold passage among `documents - 1` random ones."""
        gold = [g for g in example["metadata"]["gold"] if g in self.passages]
        ids = gold[:1] + rng.sample(self.ids, documents - 1)
        rng.shuffle(ids)
        block = documents_block([self.passages[i] for i in ids])
        answer = min(example["golden_answers"], key=len)
        return dialogue(render(f"{task}.rag", documents=block, question=example["question"]), answer)


def _jsonl(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _passages(path: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            title, _, text = row["contents"].partition("\n")
            yield row["id"], (title, " ".join(text.split()[:100]))
