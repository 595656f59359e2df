"""Lists that shards share: learnt once, kept while the corpus changes a little, and from all of the corpus."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.executor.ray.corpus_blocks import CorpusBlock, part_keys
from wbrag.executor.ray.index_lists import train_one
from wbrag.executor.ray.index_plan import IndexPlan, Training, describe, plan_index, sampled
from wbrag.retrieval.index.build import RUN, learns, runs
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import Shard, build_once, open_trained, write_trained
from wbrag.retrieval.index.vector_store import VectorStore

LISTS = "IVF4,SQfp16"


def vectors(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def corpus(folder: Path, parts: int, rows: int = 40) -> dict[str, Any]:
    """The keys of each file of a corpus that is written to `folder`."""
    folder.mkdir(exist_ok=True)
    for part in range(parts):
        table = pa.table({name: [f"{name}{part}-{i}" for i in range(rows)] for name in ("id", "title", "text")})
        pq.write_table(table, folder / f"part-{part:02}.parquet")
    return {file.name: part_keys(str(file)) for file in sorted(folder.iterdir())}


def planned(tmp_path: Path, parts: int, factory: str = LISTS) -> IndexPlan:
    keys = corpus(tmp_path / "corpus", parts)
    config = load(index={"factory": factory, "shards": 2, "block_rows": 8})
    return plan_index(config, tmp_path / "corpus", keys, VectorStore(tmp_path / "store"), tmp_path / "index")


@given(st.integers(0, 5000), st.integers(1, 3000))
def test_runs_lie_in_order_and_none_twice(count: int, wanted: int) -> None:
    found = runs(count, wanted)
    assert all(0 <= start < stop <= count and stop - start <= RUN for start, stop in found)
    assert all(one[1] <= other[0] for one, other in pairwise(found))
    taken = sum(stop - start for start, stop in found)
    assert min(count, wanted) <= taken <= min(count, wanted + RUN)


def test_what_was_learnt_is_kept_until_the_corpus_has_outgrown_it(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    first = planned(tmp_path, 2)
    assert first.training is not None and first.training.passages == 80
    assert planned(tmp_path, 2) == first or planned(tmp_path, 2).training == first.training, "a killed build goes on"
    describe(tmp_path / "index", "m", first)
    assert planned(tmp_path, 3).training != first.training, "what it names is not there"
    write_trained(tmp_path / "index", first.training.name, LISTS, vectors(80), 80)
    assert planned(tmp_path, 3).training == first.training
    assert planned(tmp_path, 3, "IVF8,SQfp16").training != first.training
    grown = planned(tmp_path, 9)
    assert grown.training == Training(grown.training.name, first.training.encoder, LISTS, 360)  # type: ignore[union-attr]
    assert grown.training.name != first.training.name  # type: ignore[union-attr]
    assert planned(tmp_path, 9, "SQfp16").training is None


def test_shards_with_lists_of_their_own_are_taken_over(tmp_path: Path) -> None:
    """As they were built until shards shared them."""
    (tmp_path / "store").mkdir()
    alone = planned(tmp_path, 2, "SQfp16")
    for one in alone.wanted.values():
        table = pa.table({name: ["x"] * 9 for name in ("id", "title", "text")})
        build_once(tmp_path / "index", one.name, "SQfp16", 16, [(vectors(9), table)])
    assert not planned(tmp_path, 2, "SQfp16").wanted
    before = {wanted.name for wanted in planned(tmp_path, 2).wanted.values()}
    assert len(before) == 2 and all("base-" in name for name in before)


def test_the_sample_is_spread_over_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    found = planned(tmp_path, 8)
    keys = corpus(tmp_path / "corpus", 8)
    every = [block for mine in found.blocks for block in mine]
    blocks, sample = sampled(every, keys, 16)
    assert 2 <= len(blocks) <= 8 and len({block.file for block in blocks}) >= min(4, len(blocks))
    assert len(np.unique(sample, axis=0)) == len(sample) >= 16
    all_of, whole = sampled(every, keys, 10_000)
    assert all_of == every and len(whole) == 320


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 600))
def test_every_row_counts_alike_whatever_block_it_is_in(sizes: list[int], wanted: int) -> None:
    blocks = [CorpusBlock(f"{n}.parquet", 0, rows) for n, rows in enumerate(sizes)]
    numbers = np.arange(sum(sizes), dtype=np.uint64)
    keys = {
        block.file: np.stack([numbers[end - block.rows : end]] * 4, axis=1)
        for block, end in zip(blocks, np.cumsum(sizes).tolist(), strict=True)
    }
    chosen, sample = sampled(blocks, keys, wanted)
    assert min(sum(sizes), wanted) <= len(sample) <= wanted + RUN
    assert len(np.unique(sample[:, 0])) == len(sample)
    assert sum(block.rows for block in chosen) >= min(sum(sizes), 4 * wanted)


def test_an_index_that_learns_nothing_shares_nothing() -> None:
    """Its shards were named by the whole corpus, so that one change built all of them."""
    assert [learns(factory) for factory in ("SQfp16", "Flat", "HNSW32", LISTS, "SQ8", "PQ48", "nothing")] == [
        False, False, False, True, True, True, True
    ]  # fmt: skip


def test_shards_that_share_find_what_one_alone_does(tmp_path: Path) -> None:
    root, store = tmp_path / "index", VectorStore(tmp_path / "store")
    (tmp_path / "store").mkdir()
    all_of, own = vectors(600), np.arange(1200, dtype=np.uint64).reshape(600, 2)
    store.keep("pack", own, all_of)
    missing = np.concatenate([own, np.full((1, 2), 9, np.uint64)])  # of a shard that was taken over
    trained = train_one(str(root), "trained-a", LISTS, 600, str(store.folder), store.places(missing))
    assert train_one(str(root), "trained-a", LISTS, 600, str(tmp_path / "gone"), store.places(own)) == trained
    ids = pa.table({name: [f"p{i:03}" for i in range(600)] for name in ("id", "title", "text")})
    found = []
    for name, (start, stop), shared in (("a", (0, 300), trained), ("b", (300, 600), trained), ("c", (0, 600), None)):
        stream = [(all_of[start:stop], ids.slice(start, stop - start))]
        files = build_once(root, name, LISTS, 16, stream, stop - start, shared)
        shard = Shard(root, files, Manifest("", "", 16, LISTS, (files,)), "base", gpu=False)
        assert shard.index.nlist == 4 and shard.count == stop - start
        found.append([[(hit.id, hit.score) for hit in hits] for hits in shard.search(all_of[:20], 5)])
    both = [sorted(a + b, key=lambda hit: (-hit[1], hit[0]))[:5] for a, b in zip(found[0], found[1], strict=True)]
    assert [[id for id, _ in hits] for hits in both] == [[id for id, _ in hits] for hits in found[2]]


def test_what_is_damaged_is_not_filled(tmp_path: Path) -> None:
    trained = write_trained(tmp_path, "trained-a", LISTS, vectors(80), 80)
    file = tmp_path / "trained-a" / "vectors.faiss"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(WbragError, match="sha256"):
        open_trained(tmp_path, trained)


def test_too_few_passages_are_said_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(WbragError, match="found 3: choose fewer centroids"):
        write_trained(tmp_path, "trained-a", LISTS, vectors(3), 3)
    assert not list(tmp_path.iterdir())
