"""Encoders and a retriever that look their answers up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wbrag.core.types import Hit
from wbrag.retrieval.encoder import Vectors


@dataclass
class SimilarityEncoder:
    """`QueryEncoder`: the first text of a call is the question; the others have the cosine that `similarity` names."""

    similarity: Mapping[str, float]
    calls: list[tuple[str, ...]] = field(default_factory=list)

    async def queries(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(tuple(texts))
        cosines = [1.0, *(self.similarity.get(text, 0.0) for text in texts[1:])]
        return np.array([[c, np.sqrt(1 - c * c)] for c in cosines], dtype=np.float32)


@dataclass
class CountingEncoder:
    """The synchronous encoder: `vector` of each text, every batch remembered; the n-th call fails if `fails` has n.

    Cleared, `gate` holds a batch back until the test sets it.
    """

    vector: Callable[[str], Sequence[float]] = lambda text: (float(len(text)), 1.0)
    fails: Mapping[int, Exception] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def encode_queries(self, questions: Sequence[str]) -> Vectors:
        self.batches.append(list(questions))
        number = len(self.batches) - 1
        assert self.gate.wait(60)
        if number in self.fails:
            raise self.fails[number]
        return np.array([self.vector(text) for text in questions], dtype=np.float32)


@dataclass
class TableRetriever:
    """`Retriever`: the hits of each question, from a table."""

    hits: Mapping[str, Sequence[Hit]]
    calls: list[tuple[tuple[str, ...], int]] = field(default_factory=list)

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.calls.append((tuple(queries), k))
        return [list(self.hits.get(query, ()))[:k] for query in queries]
