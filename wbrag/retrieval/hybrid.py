"""Hybrid search of one shard: passages ranked by a fixed mixture of inner product and BM25, exactly.

    score = (1 - weight) x similarity + weight x keywords

Exactly: among all passages of the shard, not among a few candidates of each way. Both ways' best are looked at until no
passage further down either list could still be among the best k (Fagin's threshold algorithm), so the hits do not
depend on how the corpus is shared out. A compressed or approximate index is looked at as deep as it is without words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.types import FoundBy, Hit, Ways
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.index.labels import Visible
from wbrag.retrieval.index.shard import RESCORED, Shard

FIRST = 64  # of each way's list
DEEPER = 16  # times, where that does not settle it
HIDDEN = -1.0  # of keywords: below every score, so that it is looked at last, and never
TINY = 1e-9  # a passage that holds no word of the question is not found by words

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Words(NamedTuple):
    """What is asked by words: each query's text, and how much of the score they make."""

    texts: Sequence[str]
    weight: float


def search(shard: Shard, queries: Vectors, words: Words, k: int, allowed: Allowed = EVERYTHING) -> list[list[Hit]]:
    """Of each of `queries` [n, d], the best `k` by the mixture, by similarity and by keywords; each with its `ways`.

    Of what is `allowed`, as if the shard held nothing else.
    """
    visible = shard.visible(allowed)
    count = shard.count if visible is None else visible.shown
    if not count or not k:
        return [[] for _ in range(len(queries))]
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    wanted = min(count, max(k * RESCORED, FIRST))
    near = shard.nearest(queries, wanted, visible)[1]
    return [
        _search(shard, query, text, words.weight, k, rows, visible)
        for query, text, rows in zip(queries, words.texts, near, strict=True)
    ]


def found_by(hits: Iterable[Hit], k: int) -> list[Hit]:
    """The hits, each saying by which way alone it would be among the best `k`; equals of the last of them are too."""
    hits = list(hits)
    last_similarity, last_keywords = (
        sorted((getattr(hit.ways, way) for hit in hits), reverse=True)[:k][-1:] or [0.0]
        for way in ("similarity", "keywords")
    )
    return [_named(hit, last_similarity[0], last_keywords[0]) for hit in hits]


def _named(hit: Hit, last_similarity: float, last_keywords: float) -> Hit:
    assert hit.ways is not None
    near, worded = hit.ways.similarity >= last_similarity, (hit.ways.keywords or 0.0) >= max(last_keywords, TINY)
    way: FoundBy = "both" if near and worded else "vectors" if near else "keywords" if worded else "fusion"
    return replace(hit, ways=hit.ways._replace(found_by=way))


def _search(
    shard: Shard, query: Vectors, text: str, weight: float, k: int, near: Rows, visible: Visible | None
) -> list[Hit]:
    """`near`: the first rows of the list of vectors."""
    assert shard.keywords is not None
    by_words, count = shard.keywords.scores(text), shard.count
    if visible is not None:
        by_words, count = np.where(visible.mask(count), by_words, np.float32(HIDDEN)), visible.shown
    while True:
        wanted = len(near)
        near = near[near >= 0]
        worded = _best(by_words, wanted)
        rows = np.union1d(near, worded)
        [similar] = shard.similarities(query[None], rows[None])
        score = (1 - weight) * similar.astype(np.float64) + weight * by_words[rows].astype(np.float64)
        last_near = similar[np.searchsorted(rows, near)].min(initial=1.0)
        unseen = (1 - weight) * last_near + weight * by_words[worded].min()
        unseen += shard.rounding
        settled = len(rows) >= k and np.partition(score, -k)[-k] > unseen
        if settled or wanted >= count or not shard.exact:
            break
        near = shard.nearest(query[None], min(count, wanted * DEEPER), visible)[1][0]
    best = score >= (np.partition(score, -k)[-k] if k < len(score) else -np.inf)  # with what is tied at the cut
    kept = np.union1d(np.flatnonzero(best), np.union1d(_best(similar, k), _best(by_words[rows], k)))
    return [
        replace(shard.hit(int(rows[i]), float(score[i])), ways=Ways(float(similar[i]), float(by_words[rows[i]])))
        for i in kept
    ]


def _best(scores: Floats, k: int) -> Rows:
    """Where the `k` highest are; of equal ones at the cut any."""
    return np.argpartition(scores, -k)[-k:] if k < len(scores) else np.arange(len(scores))
