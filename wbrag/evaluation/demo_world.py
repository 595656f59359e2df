"""Demo data set: the demo's corpus and questions in a workspace, through the same readers that any data takes.

It never mixes with another corpus.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wbrag.core.errors import UsageError
from wbrag.core.io.files import write_atomically
from wbrag.core.io.parquet import corpus_files
from wbrag.core.types import Example
from wbrag.data.demo.facts import demo_world, examples
from wbrag.units.layout import Layout

MARKER = "demo.json"


def prepare(layout: Layout, limit: int | None = None, draws: Sequence[int] = ()) -> None:
    """Bring the demo's world in, or `limit` questions of each set; raises `UsageError` beside another corpus.

    Every one of `draws` becomes examples of its own: `demo-1/train`, `demo-1/reworded`, `demo-1/new_facts`.
    """
    marker = layout.path / MARKER
    if corpus_files(layout.path / "corpus") and not marker.exists():
        raise UsageError(
            f"expected an empty workspace for the demo, found another corpus in {layout.path}: use --workspace DIR"
        )
    raw = layout.path / "demo"
    raw.mkdir(parents=True, exist_ok=True)
    write_atomically(marker, json.dumps({"passages": len(demo_world().passages)}) + "\n")
    passages = [{"id": p.id, "contents": f"{p.title}\n{p.text}"} for p in demo_world().passages]
    write_atomically(raw / "corpus.jsonl", _jsonl(passages))
    sets = examples()
    test = [e for half in ("reworded", "new_facts") for e in sets[half][:limit]]
    for split, found in (("train", sets["train"][:limit]), ("test", test)):
        _ingest(layout, found, "demo", split)
    for draw in draws:
        for split, found in examples(draw).items():
            _ingest(layout, found[:limit], f"demo-{draw}", split)
    layout.ingest_corpus(raw / "corpus.jsonl", source="archive")


def _ingest(layout: Layout, found: Sequence[Example], name: str, split: str) -> None:
    file = layout.path / "demo" / (f"{split}.jsonl" if name == "demo" else f"{name}-{split}.jsonl")
    rows = [
        {"id": e.id, "question": e.question, "golden_answers": list(e.golden_answers), "metadata": e.metadata}
        for e in found
    ]
    write_atomically(file, _jsonl(rows))
    layout.ingest_examples(file, name, split)


def _jsonl(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
