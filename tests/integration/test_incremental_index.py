"""A changed corpus embeds what has changed, builds the shards that hold it, and gives the index of a whole build."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.hosts import OnRay
from tests.support.openai_server import OpenAIServer
from wbrag.core.types import Hit
from wbrag.retrieval.index.shard import open_shards
from wbrag.units.tidy import tidy
from wbrag.workspace import Workspace

LISTS = "IVF4,SQfp16"


def write(path: Path, rows: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": id, "title": id, "text": text}) + "\n" for id, text in rows.items()))
    return path


def hits(w: Workspace) -> list[list[Hit]]:
    """What the base finds for the vectors of its own first shard's passages, ten of them."""
    manifest, _, _ = w.layout.base()
    shards = open_shards(w.layout.path / "index", manifest, "base", gpu=False)
    queries = np.random.default_rng(0).standard_normal((10, manifest.dimension)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found = [shard.search(queries, 5) for shard in shards]
    return [sorted((h for mine in found for h in mine[i]), key=lambda h: (-h.score, h.id))[:5] for i in range(10)]


def planned(w: Workspace) -> tuple[int, int, int]:
    """What `wbrag index --dry-run` says."""
    found = w.runner.plan_index()
    return found.passages, found.new, len(found.wanted)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("factory", ["SQfp16", LISTS])
def test_a_changed_corpus(
    on_ray: OnRay, endpoint: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str
) -> None:
    index = {"shards": 3, "block_rows": 8, "factory": factory}
    monkeypatch.setattr("wbrag.data.ingest.PART_ROWS", 20)
    monkeypatch.setattr("wbrag.data.ingest.BATCH", 20)
    texts = {f"d{i:03d}": f"The code of item {i} is {i * 7919 % 1000}." for i in range(120)}
    with on_ray.workspace(tmp_path / "w", endpoint, index=index) as w:
        w.ingest_corpus(write(tmp_path / "c.jsonl", texts), "jsonl")
        assert planned(w) == (120, 120, 3)
        first = w.index()
        assert (first["passages"], first["embedded"], first["shards_built"]) == (120, 120, 3)
        assert planned(w) == (120, 0, 0)
        again = w.index()
        assert (again["embedded"], again["shards_built"], again["manifest"]) == (0, 0, first["manifest"])
        before = w.layout.base()[0]

        changed = {"d001": "The code of item 1 is 4711.", "d002": texts["d002"], "new": "A new item has no code."}
        w.update_corpus(write(tmp_path / "u.jsonl", changed), "jsonl", delete=["d003"])
        said = planned(w)
        second = w.index()
        assert said == (second["passages"], second["embedded"], second["shards_built"])
        assert (second["passages"], second["embedded"]) == (120, 2)
        assert second["shards_built"] in (1, 2)
        after = w.layout.base()[0]
        kept = {files.folder for files in before.shards} & {files.folder for files in after.shards}
        assert len(kept) == 3 - second["shards_built"]
        old = w.layout.path / first["manifest"]
        assert old.is_file() and w.layout.passages(["new"]), "the index of before can still be opened"

        w.update_corpus(
            write(tmp_path / "u.jsonl", {"d001": texts["d001"], "d003": texts["d003"]}), "jsonl", delete=["new"]
        )
        third = w.index()
        assert third["embedded"] == 0, "what was embedded once is found again"
        found = hits(w)
        shared = [folder.name for folder in (w.layout.path / "index").glob("trained-*/")]
        assert len(shared) == (factory == LISTS), "shards share what they learnt, and so do those of a changed corpus"
        monkeypatch.setattr("wbrag.units.tidy.GRACE_H", -1.0)
        tidy(w.layout, keep=1)
        assert w.index()["shards_built"] == 0 and [*(w.layout.path / "index").glob("trained-*/")] == [
            w.layout.path / "index" / name for name in shared
        ]
    with on_ray.workspace(tmp_path / "whole", endpoint, index=index) as w:
        for file in sorted((tmp_path / "w" / "corpus").iterdir()):
            (tmp_path / "whole" / "corpus").mkdir(parents=True, exist_ok=True)
            pq.write_table(pq.read_table(file), tmp_path / "whole" / "corpus" / file.name)
        w.index()
        whole = hits(w)
    for mine, theirs in zip(found, whole, strict=True):
        assert [h.id for h in mine] == [h.id for h in theirs]
        assert [h.score for h in mine] == pytest.approx([h.score for h in theirs], abs=2e-3)
    assert pa.concat_tables(pq.read_table(f) for f in (tmp_path / "w" / "corpus").iterdir()).num_rows == 120
