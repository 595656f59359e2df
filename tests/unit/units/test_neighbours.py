"""The nearest of many units, exactly up to some tens of thousands, and beyond that as near as a repetition is."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.units import neighbours
from wbrag.units.neighbours import Neighbours, matrix

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def unit(count: int, dimension: int = 16, seed: int = 0) -> Array:
    found = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)  # type: ignore[no-any-return]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 12), st.integers(0, 9))
def test_they_are_those_of_one_look_at_all(parts: list[int], k: int, seed: int) -> None:
    """Whatever came when; of equals the first."""
    vectors = np.round(unit(sum(parts), 4, seed) * 2) / 2  # many equal ones
    held = Neighbours(matrix([], 4))
    for start, size in zip(np.cumsum([0, *parts]), parts, strict=False):
        held.add(vectors[start : start + size])
    queries = np.round(unit(5, 4, 99) * 2) / 2
    cosines = queries @ vectors.T
    for row, found in zip(cosines, held.nearest(queries, k), strict=True):
        scores = [score for _, score in found]
        assert scores == sorted(row.tolist(), reverse=True)[:k]
        assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))
    assert held.count == len(vectors)


def test_with_lists_repetitions_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "FLAT", 2000)
    vectors = unit(9000, 32)
    held = Neighbours(vectors[:1500])
    for start in range(1500, 9000, 700):
        held.add(vectors[start : start + 700])
        assert held.nearest(vectors[:1], 1)[0][0][0] == 0
    assert held._lists is not None and 0 < held._listed <= held.count == 9000
    again = vectors + 0.01 * unit(9000, 32, seed=1)
    again /= np.linalg.norm(again, axis=1, keepdims=True)
    places = [found[0][0] for found in held.nearest(again[::10], 5)]
    assert np.mean([place == 10 * i for i, place in enumerate(places)]) == 1.0


def test_memory_goes_with_the_units_not_with_their_square() -> None:
    vectors = unit(20_000, 32)
    held = Neighbours(vectors)
    tracemalloc.start()
    try:
        held.nearest(vectors[:256], 10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * 256 * 20_000  # a few numbers for each pair of a block, not of all
    assert Neighbours(matrix([], 8)).nearest(unit(2, 8), 3) == [[], []]
