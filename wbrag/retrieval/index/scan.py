"""Flat scan: exact inner products for many queries at once, in one pass over memory.

FAISS scans float16 vectors query by query, each on one thread.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import numpy as np

from wbrag.retrieval.index.build import Array
from wbrag.retrieval.index.labels import Visible

log = logging.getLogger(__name__)
LOOKED_THROUGH = 16_384  # visible vectors up to which these alone are scored
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


def nearest_of(vectors: Array, rows: Array, queries: Array, k: int) -> tuple[Array, Array]:
    """As `nearest`, of the vectors at `rows` [r] alone; k is at most r."""
    best, found = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(rows), PIECE):
        mine = rows[start : start + PIECE]
        scores = queries @ vectors[mine].astype(np.float32).T
        best = np.concatenate([best, scores], axis=1)
        found = np.concatenate([found, np.broadcast_to(mine, scores.shape)], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, found = np.take_along_axis(best, order, 1), np.take_along_axis(found, order, 1)
    return best, found


def nearest_visible(index: Any, vectors: Array, queries: Array, k: int, visible: Visible) -> tuple[Array, Array]:
    """As `nearest`, of what is visible alone; k is at most as many as that.

    Few are looked through. Of many FAISS passes over the others while it searches; where it finds too few, as lists
    and graphs may, or cannot, they are looked through as well.
    """
    faiss: Any = import_module("faiss")  # its stubs know no selectors
    if visible.shown > LOOKED_THROUGH:
        try:
            selector = faiss.IDSelectorBitmap(visible.bits)
            scores, rows = index.search(queries, k, params=_selecting(index, selector))
            if (rows >= 0).all():
                return scores, rows
        except RuntimeError as error:
            log.warning("an index of this kind cannot pass over what is hidden: %s", str(error)[:200])
    return nearest_of(vectors, visible.rows(len(vectors)), queries, k)


def _selecting(index: Any, selector: Any) -> Any:
    """Search parameters of the kind that `index` takes, with its own settings."""
    faiss: Any = import_module("faiss")
    if isinstance(index, faiss.IndexPreTransform):
        inner = _selecting(faiss.downcast_index(index.index), selector)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=index.nprobe)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=index.hnsw.efSearch)
    return faiss.SearchParameters(sel=selector)
