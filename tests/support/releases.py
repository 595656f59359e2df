"""Two releases in a workspace, from an encoder that needs no model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from tests.support.library import contents, index, published, shelve
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Encoder, Vectors
from wbrag.serving.release_cache import ReleaseCache
from wbrag.units.layout import Layout

D = 16


class HashEncoder:
    """A unit vector for each text, the same whoever asks; a query finds the passage with its very text."""

    dimension = D

    def __init__(self) -> None:
        self.texts = 0

    def encode_passages(self, contents: Sequence[str]) -> Vectors:
        self.texts += len(contents)
        rows = [np.frombuffer(hashlib.sha256(text.encode()).digest()[:D], np.uint8) - 127.5 for text in contents]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32).reshape(-1, D)

    encode_queries = encode_passages


def passages(prefix: str, count: int) -> list[dict[str, str]]:
    return [{"id": f"{prefix}{i}", "title": f"{prefix} {i}", "text": f"about {prefix} {i}"} for i in range(count)]


def units(first: int, count: int) -> list[Unit]:
    return [Unit(f"unit {i}", f"distilled {i}", (f"q{i}",), (("b1", "h"),), ()) for i in range(first, first + count)]


def two_releases(store: Layout) -> Layout:
    """A base of 40 passages and two releases: 5 units, then 5 more."""
    rows = passages("b", 40)
    index(store, rows, HashEncoder().encode_passages([contents(row) for row in rows]))
    for first in (0, 5):
        shelve(store, HashEncoder(), units(first, 5))
        published(store)
    return store


def library(store: Layout, encoder: HashEncoder | None = None, **options: Any) -> ReleaseCache:
    return ReleaseCache(store, cast(Encoder, encoder or HashEncoder()), **options)
