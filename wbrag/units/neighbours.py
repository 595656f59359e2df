"""Neighbouring units: the units that a unit is nearest to, of those that stand.

Up to `FLAT` of them all are looked at, a block of units at once. Beyond that a FAISS index with lists is searched,
which finds what is as near as a repetition, and those that came after it was made are looked at beside it: so a million
units are compared in blocks and not all with all. Cosines are exact in either case.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.index.build import new_index

FLAT = 1 << 16  # vectors that are compared one by one
LISTS = 4  # times the root of how many there are, as FAISS advises
SAMPLE = 64  # vectors for each list that it is trained on
SPARE = 8  # candidates beyond those wanted, so that rounding decides nothing at the cut

Rows = npt.NDArray[np.int64]


class Neighbours:
    """Vectors [n, d] of unit length, in the order in which they were added."""

    def __init__(self, vectors: Vectors) -> None:
        self._held = np.ascontiguousarray(vectors, dtype=np.float32)
        self.count = len(vectors)
        self._lists: Any = None  # FAISS's, over the first `_listed`
        self._listed = 0

    def add(self, vectors: Vectors) -> None:
        """More of them; room is doubled, so that each is moved twice at most."""
        if not len(vectors):
            return
        wanted = self.count + len(vectors)
        if wanted > len(self._held):
            grown = np.empty((max(wanted, 2 * len(self._held)), vectors.shape[1]), np.float32)
            if self.count:
                grown[: self.count] = self._held[: self.count]
            self._held = grown
        self._held[self.count : wanted] = vectors
        self.count = wanted

    def nearest(self, vectors: Vectors, k: int) -> list[list[tuple[int, float]]]:
        """Place and cosine of the `k` nearest to each of `vectors` [m, d], best first; of equals the first."""
        if not self.count or not len(vectors):
            return [[] for _ in vectors]
        if self.count - self._listed > FLAT:
            self._list()
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        tail = self._held[self._listed : self.count]
        parts = [_best(vectors @ tail.T, k + SPARE) + self._listed] if len(tail) else []
        if self._lists is not None:
            parts.append(self._lists.search(vectors, k + SPARE)[1])
        return [self._ranked(vector, np.concatenate(rows), k) for vector, *rows in zip(vectors, *parts)]

    def _ranked(self, vector: Vectors, rows: Rows, k: int) -> list[tuple[int, float]]:
        rows = np.sort(rows[rows >= 0])
        cosines = np.einsum("nd,d->n", self._held[rows], vector)
        order = np.argsort(-cosines, kind="stable")[:k]
        return [(int(rows[i]), float(cosines[i])) for i in order]

    def _list(self) -> None:
        """What was not listed yet goes into the lists; they are made anew where there are four times as many."""
        fresh = self._held[self._listed : self.count]
        if self._lists is None or self.count > 4 * self._lists.nlist**2 // LISTS**2:
            lists, fresh = LISTS * isqrt(self.count), self._held[: self.count]
            self._lists = new_index(f"IVF{lists},SQfp16", self._held.shape[1])
            self._lists.train(fresh[:: max(1, self.count // (SAMPLE * lists))])
        self._lists.add(np.ascontiguousarray(fresh))
        self._listed = self.count


def _best(scores: Vectors, k: int) -> Rows:
    """Where the `k` highest of each row are, in any order."""
    if k >= scores.shape[1]:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]


def matrix(vectors: Sequence[Vectors], dimension: int) -> Vectors:
    """`vectors` as one array [n, d], also where there are none."""
    return np.array(vectors, np.float32).reshape(-1, dimension)
