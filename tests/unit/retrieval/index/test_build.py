"""Filled piece by piece, an index is the one that FAISS makes of all vectors at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest

from wbrag.retrieval.index import build
from wbrag.retrieval.index.build import PROBED_LISTS, add_exact, fill, new_index, reserve

Array = npt.NDArray[Any]
faiss.omp_set_num_threads(1)


def vectors(count: int, dimension: int = 16) -> Array:
    return np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float16)


def whole(factory: str, found: Array) -> Any:
    index = faiss.index_factory(found.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    if (lists := faiss.try_extract_index_ivf(index)) is not None:
        lists.nprobe = PROBED_LISTS
    index.train(found.astype(np.float32))
    index.add(found.astype(np.float32))
    return index


@pytest.mark.parametrize("factory", ["SQfp16", "Flat"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_flat_blocks_give_the_bytes_of_one_add(factory: str, dtype: Any) -> None:
    found = vectors(100)
    index = new_index(factory, 16)
    reserve(index, 100)
    for block in np.split(found.astype(dtype), 4):
        add_exact(index, block)
    assert bytes(faiss.serialize_index(index)) == bytes(faiss.serialize_index(whole(factory, found)))


def filled(factory: str, found: Array, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An index of `found`, read from a file in pieces."""
    monkeypatch.setattr(build, "PIECE", 70)
    monkeypatch.setattr(build, "RUN", 30)
    found.tofile(folder / "f16")
    index = new_index(factory, found.shape[1])
    fill(index, folder / "f16", len(found))
    return index


def test_a_file_gives_the_bytes_of_one_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = vectors(1000)
    index = filled("SQ8", found, tmp_path, monkeypatch)
    assert bytes(faiss.serialize_index(index)) == bytes(faiss.serialize_index(whole("SQ8", found)))


@pytest.mark.parametrize("factory", ["IVF4,SQfp16", "IVF4,Flat", "IVF4,PQ4x4", "PCA8,SQfp16", "OPQ4,IVF4,PQ4x4"])
def test_a_file_gives_the_vectors_of_one_add(factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrix products round by the CPU's kernel and the number of rows, so that a few codes may fall differently."""
    found = vectors(1000)
    index, expected = filled(factory, found, tmp_path, monkeypatch), whole(factory, found)
    assert index.ntotal == expected.ntotal == 1000
    pairs = zip(index.reconstruct_n(0, 1000), expected.reconstruct_n(0, 1000))
    assert sum(np.allclose(one, other, atol=5e-3) for one, other in pairs) >= 990


def test_the_training_sample_is_spread_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus in the order of its topics: the first rows alone would leave all centroids in one of them."""
    monkeypatch.setattr(build, "POINTS_PER_CENTROID", 50)
    monkeypatch.setattr(build, "FEWEST_CENTROIDS", 4)
    monkeypatch.setattr(build, "RUN", 8)
    topics = np.repeat(np.eye(4, 16), 500, axis=0) * 10 + vectors(2000) * 0.1
    topics.astype(np.float16).tofile(tmp_path / "f16")
    index = new_index("IVF4,SQfp16", 16)
    fill(index, tmp_path / "f16", 2000)
    assert [index.invlists.list_size(number) for number in range(4)] == [500] * 4


def test_room_is_set_aside_once() -> None:
    index = new_index("SQfp16", 16)
    reserve(index, 1000)
    add_exact(index, vectors(10))
    at = int(faiss.rev_swig_ptr(index.codes.data(), 1).ctypes.data)
    for _ in range(99):
        add_exact(index, vectors(10))
    assert index.ntotal == 1000
    assert int(faiss.rev_swig_ptr(index.codes.data(), 1).ctypes.data) == at
