"""What the Ray stages do with a location in an object store, called here without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.s3_server import BUCKET, S3Server
from wbrag.core.io.files import Location, file_in_one_step, listed, location
from wbrag.enrich.row_files import read_rows
from wbrag.executor.ray.corpus_blocks import plan
from wbrag.executor.ray.model_actors import ShardActor
from wbrag.executor.ray.row_pass import Output, _Counter
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import build_once
from wbrag.retrieval.index.vector_store import VectorStore, text_keys


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Location]:
    with S3Server() as server:
        server.use(monkeypatch)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield location(f"s3://{BUCKET}/w")


def test_blocks_of_the_corpus_are_planned_and_read(root: Location) -> None:
    rows = pa.table({name: [f"{name}{i}" for i in range(100)] for name in ("id", "title", "text")})
    for part in range(2):
        with file_in_one_step(root / "corpus" / f"part-{part:05d}.parquet") as scratch:
            pq.write_table(rows.slice(part * 50, 50), scratch, row_group_size=20)
    blocks = [deepcopy(block) for block in plan(root / "corpus", 15, 2)]  # by the protocol by which they travel
    assert pa.concat_tables(block.read() for block in blocks) == rows
    assert blocks[0].place == ("part-00000.parquet", 0)


def test_vectors_are_kept_and_found_again(root: Location) -> None:
    store = VectorStore(root / "embeddings" / "e")
    keys, vectors = text_keys(["a", "b", "c"]), np.arange(12, dtype=np.float16).reshape(3, 4)
    store.keep("pack", keys, vectors)
    places = VectorStore(store.folder).places(keys[[2, 0]])
    assert np.array_equal(store.vectors(places), vectors[[2, 0]])
    assert store.places(text_keys(["d", "b"])).known.tolist() == [False, True]


def test_rows_are_kept_counted_and_read(root: Location) -> None:
    output = deepcopy(Output(root / "answers", "evaluate"))
    assert output.folder == root / "answers"
    for number in range(3):
        row = f'{{"id": "q{number}", "question": "?", "prediction": "a", "score": 1.0, "error": ""}}'
        output.keep([row], [{"row": row, "stop": ""}])
        output.keep([row], [{"row": row, "stop": ""}])  # Ray repeats a task
    assert len(listed(output.folder, "*.parquet")) == 3
    counter = _Counter(output.folder, {"q0", "q1", "other"})
    counter.look(60)
    assert counter.done == {"q0", "q1"}
    assert sorted(read_rows(output.folder, output.kind)) == ["q0", "q1", "q2"]


def test_a_shard_actor_opens_a_shard_of_the_store(root: Location) -> None:
    vectors = np.eye(4, dtype=np.float32)
    passages = pa.table({name: [f"{name}{i}" for i in range(4)] for name in ("id", "title", "text")})
    files = build_once(root / "index", "base-1", "SQfp16", 4, [(vectors, passages)])
    assert build_once(root / "index", "base-1", "SQfp16", 4, []) == files, "a finished shard was built again"
    index = Manifest("e", "model", 4, "SQfp16", (files,))
    actor = ShardActor(str((root / "index").resolve()), False)
    assert [hit.id for [hit] in asyncio.run(actor.search(index, "base", vectors[2:3], 1))] == ["id2"]
