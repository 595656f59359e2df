"""Shards: exact whatever the partition, and never opened unverified."""

from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.files import write_atomically
from wbrag.core.types import Hit
from wbrag.retrieval.index import scan
from wbrag.retrieval.index.manifest import Manifest, ShardFiles
from wbrag.retrieval.index.shard import Block, Shard, build_shard, open_shards
from wbrag.retrieval.merge import best

Array = npt.NDArray[Any]
faiss.omp_set_num_threads(1)


def names(count: int) -> list[str]:
    return [f"p{n * 7 % count:03}" for n in range(count)] if count % 7 else [f"p{n:03}" for n in range(count)]


def blocks(vectors: Array, ids: Sequence[str], rows: int = 8) -> Iterator[Block]:
    for at in range(0, len(vectors), rows):
        part = list(ids[at : at + rows])
        titles, texts = [f"title {id}" for id in part], [f"text {id}" for id in part]
        yield vectors[at : at + rows], pa.table({"title": titles, "id": part, "text": texts, "more": part})


def index(root: Path, factory: str, vectors: Array, ids: Sequence[str], cuts: Sequence[int] = ()) -> Manifest:
    edges = [0, *sorted(cuts), len(vectors)]
    shards = tuple(
        build_shard(root, f"s{n}", factory, vectors.shape[1], blocks(vectors[a:b], ids[a:b]))
        for n, (a, b) in enumerate(pairwise(edges))
    )
    return Manifest("encoder", "model", vectors.shape[1], factory, shards)


def search(root: Path, manifest: Manifest, queries: Array, k: int) -> list[list[Hit]]:
    found = [shard.search(queries, k) for shard in open_shards(root, manifest, "base", gpu=False)]
    return [best([hit for lists in found for hit in lists[row]], k) for row in range(len(queries))]


def normal(count: int, dimension: int = 16, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float16)


@settings(max_examples=12, deadline=None)
@given(st.data(), st.sampled_from(["SQfp16", "Flat"]), st.integers(1, 30), st.integers(1, 40))
def test_sharded_equals_unsharded_with_ties(data: st.DataObject, factory: str, count: int, k: int) -> None:
    small = st.lists(st.integers(-2, 2), min_size=3, max_size=3)  # exact sums, and many ties
    vectors = np.array(data.draw(st.lists(small, min_size=count, max_size=count)), dtype=np.float16) / 4
    queries = np.array(data.draw(st.lists(small, min_size=1, max_size=3)), dtype=np.float32)
    cuts, ids = data.draw(st.lists(st.integers(0, count), max_size=2)), names(count)
    with TemporaryDirectory() as one, TemporaryDirectory() as many:
        whole = search(Path(one), index(Path(one), factory, vectors, ids), queries, k)
        assert search(Path(many), index(Path(many), factory, vectors, ids, cuts), queries, k) == whole
    for query, hits in zip(queries, whole, strict=True):
        exact = sorted((-float(query @ vector), id) for vector, id in zip(vectors.astype(np.float32), ids, strict=True))
        assert [(-hit.score, hit.id) for hit in hits] == exact[:k]
        assert all((hit.title, hit.text, hit.origin) == (f"title {hit.id}", f"text {hit.id}", "base") for hit in hits)


@pytest.mark.parametrize("factory", ["SQfp16", "Flat"])
@pytest.mark.parametrize("k", [1, 5, 60, 200])
def test_sharded_equals_unsharded_on_real_valued_vectors(tmp_path: Path, factory: str, k: int) -> None:
    vectors = normal(60)
    vectors[30:40], vectors[50:] = vectors[:10], vectors[5]
    queries = np.concatenate([normal(3, seed=1), vectors[5:6]]).astype(np.float32)
    whole = search(tmp_path / "1", index(tmp_path / "1", factory, vectors, names(60)), queries, k)
    parts = search(tmp_path / "3", index(tmp_path / "3", factory, vectors, names(60), (11, 12)), queries, k)
    assert parts == whole
    assert [len(hits) for hits in whole] == [min(k, 60)] * 4


@pytest.mark.parametrize("factory", ["SQfp16", "Flat"])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_hits_do_not_depend_on_the_queries_that_came_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str, k: int
) -> None:
    monkeypatch.setattr(scan, "MIN_VECTORS", 400)
    monkeypatch.setattr(scan, "PIECE", 64)
    vectors = normal(400, dimension=384)
    vectors[200:300] = vectors[7]  # more ties than candidates, over several pieces
    vectors /= np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    queries = np.concatenate([normal(2 * scan.MIN_QUERIES, 384, seed=1), vectors[6:8]]).astype(np.float32)
    [shard] = open_shards(tmp_path, index(tmp_path, factory, vectors, names(400)), "base", gpu=False)
    together = shard.search(queries, k)
    assert together == [hits for query in queries for hits in shard.search(query[None], k)]
    assert [hit.id for hit in together[-1]] == sorted(names(400)[7:8] + names(400)[200:300])[:k]


@pytest.mark.parametrize("k", [1, 5, 40])
def test_a_gpu_finds_the_same_hits_as_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """No GPU here: in its place an index that rounds queries as FAISS's does, and finds no more hits than that."""

    class OnGpu:
        def __init__(self, index: Any) -> None:
            self.index = index

        def search(self, queries: Array, k: int) -> tuple[Array, Array]:
            assert k <= 64
            found: tuple[Array, Array] = self.index.search(queries.astype(np.float16).astype(np.float32), k)
            return found

    monkeypatch.setattr("wbrag.retrieval.index.shard.GPU_MOST", 64)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: None, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda resources, device, index: OnGpu(index), raising=False)
    vectors = normal(400, dimension=384)
    vectors[200:300] = vectors[7]  # more ties than the GPU finds
    vectors /= np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    queries = np.concatenate([normal(8, 384, seed=1), vectors[6:8]]).astype(np.float32)
    manifest = index(tmp_path, "SQfp16", vectors, names(400))
    [on_cpu], [on_gpu] = (open_shards(tmp_path, manifest, "base", gpu=gpu) for gpu in (False, True))
    assert on_gpu.on_gpu is not None and on_cpu.on_gpu is None
    assert on_gpu.search(queries, k) == on_cpu.search(queries, k)


def test_many_ties_take_little_memory(tmp_path: Path) -> None:
    """One text a hundred thousand times, as boilerplate is: before, all ties of all queries were gathered at once."""
    ties, dimension = 12_295, 768
    [one] = normal(1, dimension).astype(np.float32)
    vectors = np.repeat((one / np.linalg.norm(one))[None], ties, axis=0).astype(np.float16)
    [shard] = open_shards(tmp_path, index(tmp_path, "SQfp16", vectors, names(ties)), "base", gpu=False)
    queries = normal(8, dimension, seed=1).astype(np.float32)
    tracemalloc.start()
    try:
        found = shard.search(queries, 5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [[hit.id for hit in hits] for hits in found] == [sorted(names(ties))[:5]] * 8
    assert peak < 100e6 < len(queries) * ties * dimension * 4


def test_a_gpu_is_searched_by_one_thread_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many releases, checks and canaries search the shard."""
    inside, most = 0, 0

    class OnGpu:
        def __init__(self, index: Any) -> None:
            self.index = index

        def search(self, queries: Array, k: int) -> tuple[Array, Array]:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            found: tuple[Array, Array] = self.index.search(queries, k)
            inside -= 1
            return found

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: None, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda resources, device, index: OnGpu(index), raising=False)
    [shard] = open_shards(tmp_path, index(tmp_path, "SQfp16", normal(50), names(50)), "base", gpu=True)
    queries = normal(4).astype(np.float32)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: shard.search(queries, 3), range(16)))
    assert most == 1 and all(hits == found[0] for hits in found)


def test_no_queries_no_hits_no_passages(tmp_path: Path) -> None:
    manifest = index(tmp_path, "SQfp16", normal(5), names(5), (5,))
    full, empty = open_shards(tmp_path, manifest, "writeback", gpu=False)
    query = normal(1).astype(np.float32)
    assert (full.count, empty.count, manifest.count) == (5, 0, 5)
    assert full.search(query[:0], 3) == []
    assert full.search(query, 0) == empty.search(query, 3) == [[]]
    assert full.search(query, 1)[0][0].origin == "writeback"


@pytest.mark.parametrize("factory", ["IVF4,SQfp16", "IVF2,Flat", "HNSW8,SQfp16", "PCA8,SQfp16", "SQ8"])
def test_a_compressed_shard_scores_with_the_stored_vectors(tmp_path: Path, factory: str) -> None:
    vectors, ids = normal(160), names(160)
    manifest = index(tmp_path, factory, vectors, ids)
    assert set(manifest.shards[0].sha256) == {"vectors.faiss", "vectors.f16", "passages.arrow"}
    queries = normal(4, seed=1).astype(np.float32)
    exact = {id: queries @ vector for id, vector in zip(ids, vectors.astype(np.float32), strict=True)}
    for row, hits in enumerate(search(tmp_path, manifest, queries, 5)):
        assert len(hits) == 5
        expected = [float(exact[hit.id][row]) for hit in hits]
        assert [hit.score for hit in hits] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert hits == sorted(hits, key=lambda h: (-h.score, h.id))


@pytest.mark.parametrize("factory", ["SQfp16", "IVF2,SQfp16"])
def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path, factory: str) -> None:
    manifest = index(tmp_path, factory, normal(80), names(80))
    [shard] = manifest.shards
    assert set(shard.sha256) == {path.name for path in (tmp_path / "s0").iterdir()}
    for name in shard.sha256:
        path = tmp_path / "s0" / name
        good = path.read_bytes()
        for at in (0, len(good) // 2, len(good) - 1):
            bad = bytearray(good)
            bad[at] ^= 1 << at % 8
            path.write_bytes(bad)
            with pytest.raises(WbragError, match=f"{re.escape(name)} with sha256 .* damaged"):
                Shard(tmp_path, shard, manifest, "base", gpu=False)
        path.write_bytes(good[:-1])
        with pytest.raises(WbragError, match="damaged"):
            Shard(tmp_path, shard, manifest, "base", gpu=False)
        path.unlink()
        with pytest.raises(WbragError, match="found no file"):
            Shard(tmp_path, shard, manifest, "base", gpu=False)
        path.write_bytes(good)
    Shard(tmp_path, shard, manifest, "base", gpu=False)


def test_the_same_input_gives_the_same_files(tmp_path: Path) -> None:
    one, two = (index(tmp_path / name, "SQfp16", normal(20), names(20)) for name in ("a", "b"))
    assert one == two


class BrokenStream(Exception):
    pass


def broken(vectors: Array) -> Iterator[Block]:
    yield from blocks(vectors, names(len(vectors)))
    raise BrokenStream


@pytest.mark.parametrize("sources", [["archive", "forum"], ["", None], None])
def test_a_hit_says_who_wrote_it_where_the_corpus_does(tmp_path: Path, sources: list[str | None] | None) -> None:
    table = {"id": ["a", "b"], "title": ["A", "B"], "text": ["one", "two"]}
    passages = pa.table(table | ({"source": pa.array(sources, pa.string())} if sources else {}))
    files = build_shard(tmp_path, "s0", "Flat", 4, [(np.eye(2, 4, dtype=np.float16), passages)])
    [found] = search(tmp_path, Manifest("e", "m", 4, "Flat", (files,)), np.eye(2, 4, dtype=np.float32)[:1], 2)
    assert [hit.source for hit in found] == [name or "" for name in sources or ["", ""]]


@pytest.mark.parametrize("factory", ["SQfp16", "IVF2,SQfp16"])
def test_a_failing_stream_leaves_no_folder(tmp_path: Path, factory: str) -> None:
    for vectors in (normal(0), normal(80)):
        with pytest.raises(BrokenStream):
            build_shard(tmp_path, "s", factory, 16, broken(vectors))
        assert not list(tmp_path.iterdir())


def test_a_failing_rebuild_leaves_the_old_shard(tmp_path: Path) -> None:
    manifest = index(tmp_path, "SQfp16", normal(20), names(20))
    with pytest.raises(BrokenStream):
        build_shard(tmp_path, "s0", "SQfp16", 16, broken(normal(20, seed=1)))
    assert [path.name for path in tmp_path.iterdir()] == ["s0"]
    assert open_shards(tmp_path, manifest, "base", gpu=False)[0].count == 20


@pytest.mark.parametrize("factory", ["", "SQfp17", "nothing", "PQ7"])
def test_a_bad_factory_string_is_refused(tmp_path: Path, factory: str) -> None:
    with pytest.raises(UsageError, match=f"index.factory, found '{factory}'"):
        build_shard(tmp_path, "s", factory, 16, blocks(normal(20), names(20)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_passages_to_train_on_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(WbragError, match=f"found {count}: choose fewer centroids"):
        build_shard(tmp_path, "s", "IVF4,SQfp16", 16, blocks(normal(count), names(count or 1)))
    assert not list(tmp_path.iterdir())


def test_manifest_round_trip_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "manifest.json"
    manifest = Manifest("e", "m", 16, "SQfp16", (ShardFiles("s0", 3, {"a": "1"}), ShardFiles("s1", 4, {})))
    sha256 = manifest.write(path)
    assert Manifest.read(path, sha256) == Manifest.read(path) == manifest
    assert manifest.count == 7
    good = path.read_bytes()
    for damaged in (good[:-1], good.replace(b'"s0"', b'"s2"'), b""):
        path.write_bytes(damaged)
        with pytest.raises(WbragError, match="found another"):
            Manifest.read(path, sha256)
    path.write_bytes(good.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(WbragError, match="expected index format 1 .* found 2"):
        Manifest.read(path)
    with pytest.raises(WbragError, match="run `wbrag index`"):
        Manifest.read(tmp_path / "none.json")


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
