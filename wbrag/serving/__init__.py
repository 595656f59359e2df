"""Serving: an OpenAI-compatible API and the knowledge owner's desk, over releases that change while it runs.

`api` and `desk` are plain FastAPI over the protocol below; `ray` puts them on Ray Serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.types import Hit
from wbrag.retrieval.encoder import Vectors
from wbrag.units.releases import Release


class ReleaseRetriever(Protocol):
    """The retriever of any release. Every call names its release, so that no answer mixes two."""

    async def search(
        self, queries: Sequence[str], k: int, release: Release, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        """The best `k` of the `allowed` hits of each query, best first; the release is loaded if it is not."""
        ...

    async def embed(self, contents: Sequence[str], queries: bool = False) -> Vectors:
        """Passages, or `queries`, to vectors [n, d]."""
        ...

    async def nearest(self, contents: Sequence[str], vectors: Vectors, k: int, release: Release) -> list[list[Hit]]:
        """As `search`, for passages with these `contents` and `vectors` [n, d]."""
        ...

    async def prepare(self, release: Release) -> None:
        """Load `release` and test it on itself; raises `WbragError` with what is wrong."""
        ...
