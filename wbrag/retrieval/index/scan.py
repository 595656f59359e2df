"""Flat scan: exact inner products for many queries at once, in one pass over memory.

FAISS scans float16 vectors query by query, each on one thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wbrag.retrieval.index.build import Array

MIN_QUERIES = 8  # queries from which this is faster than FAISS's own scan (two cores, AVX-512: benchmarks/LOG.md)
MIN_VECTORS = 100_000  # vectors from which it is worth the import of torch, in a process that has no model
PIECE = 8192  # vectors that are float32 at a time


def flat_vectors(index: Any) -> Array | None:
    """The vectors [n, d] that a flat FAISS index on the CPU holds, float16 or float32, without a copy.

    They live as long as `index`; None for any other.
    """
    import faiss

    if not isinstance(index, faiss.IndexScalarQuantizer | faiss.IndexFlat):
        return None
    dtype = np.float32 if isinstance(index, faiss.IndexFlat) else np.float16
    if not index.ntotal:
        return np.empty((0, index.d), dtype)
    codes = faiss.rev_swig_ptr(index.codes.data(), index.ntotal * index.code_size)
    return codes.view(dtype).reshape(index.ntotal, index.d)


def nearest(vectors: Array, queries: Array, k: int) -> tuple[Array, Array]:
    """Scores and row numbers [m, k] of the `k` best inner products of each of `queries` [m, d], best first."""
    import torch

    asked, stored = torch.from_numpy(queries), torch.from_numpy(vectors)
    best = torch.empty((len(queries), 0))
    rows = torch.empty((len(queries), 0), dtype=torch.int64)
    for start in range(0, len(stored), PIECE):
        scores = asked @ stored[start : start + PIECE].float().T
        found, places = scores.topk(min(k, scores.shape[1]), dim=1)
        best, order = torch.cat([best, found], 1).topk(min(k, best.shape[1] + found.shape[1]), dim=1)
        rows = torch.cat([rows, places + start], 1).gather(1, order)
    return best.numpy(), rows.numpy()
