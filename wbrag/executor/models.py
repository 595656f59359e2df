"""Models of a workspace: started at the first need, shared by its jobs, closed once.

What the library asks of them is here too (`wbrag.units.library.Models`, `wbrag.units.publisher.Tester`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wbrag.core.config import Config
from wbrag.core.errors import WbragError
from wbrag.core.types import Generator, Hit
from wbrag.enrich.row_jobs import Searched
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.external import is_external, open_base
from wbrag.retrieval.index.shard import open_shard, open_shards
from wbrag.retrieval.reranker import open_reranker
from wbrag.retrieval.retriever import Base
from wbrag.units.examine import nearest_passages
from wbrag.units.layout import Index, Layout
from wbrag.units.releases import Release
from wbrag.units.stored import StoredUnit

if TYPE_CHECKING:
    from wbrag.executor.ray.session import Session

PIECE = 4096  # texts of one message to an encoder
AT_ONCE = 16  # of them under way


class Models:
    """The encoder, the language model and the indexes of the workspace in `layout`.

    With a `session` that somebody else opened, its models are used and left running; else one is opened at the first
    need, and closed by `close`.
    """

    def __init__(self, layout: Layout, *, progress: bool = False, session: Session | None = None) -> None:
        self.layout, self.progress = layout, progress
        self._session, self._lent = session, session is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def config(self) -> Config:
        return self.layout.config

    @property
    def session(self) -> Session:
        if self._session is None:
            from wbrag.executor.ray.session import Session

            self._session = Session(self.config)
        return self._session

    def close(self) -> None:
        """Stop the models that this runner started."""
        if self._session is not None and not self._lent:
            self._session.close()
            self._session = None

    def searched(self, indexes: Sequence[Index]) -> Searched:
        """What `indexes` are searched with; no engine is started for it."""
        return self.session.searched(self.layout.path / "index", indexes)

    def embed(self, contents: Sequence[str]) -> Vectors:
        """Passages to vectors [n, d]."""
        return self._encode("passages", contents)

    def embed_queries(self, questions: Sequence[str]) -> Vectors:
        """Questions to vectors [n, d]."""
        return self._encode("queries", questions)

    def _encode(self, kind: str, texts: Sequence[str]) -> Vectors:
        from wbrag.executor.ray.failures import translated

        with translated(f"the embedding of {len(texts)} {kind}"):
            return asyncio.run(self._encoded(kind, texts))

    async def _encoded(self, kind: str, texts: Sequence[str]) -> Vectors:
        """In pieces, so that no message holds all of them, and every encoder has some."""
        encode, room = getattr(self.session.encoder(), kind), asyncio.Semaphore(AT_ONCE)

        async def piece(start: int) -> Vectors:
            async with room:
                return await encode(list(texts[start : start + PIECE]))  # type: ignore[no-any-return]

        return np.concatenate(await asyncio.gather(*map(piece, range(0, max(1, len(texts)), PIECE))))

    def nearest(self, units: Sequence[StoredUnit]) -> dict[str, list[Hit]]:
        """The base passages nearest to each unit, by its stored vector."""
        return asyncio.run(nearest_passages(units, *self.base_search()))

    def base_search(self) -> tuple[list[Any], Base | None]:
        """What the base passages are searched with by vectors: the shards of wbrag's own index, or an outside store."""
        if is_external(self.config):
            return [], open_base(self.config, self.session.encoder())
        [(manifest, _)] = self.layout.indexes("none")
        return list(self.session.shards(self.layout.path / "index", manifest, "base")), None

    def base_vectors(self, ids: Collection[str]) -> dict[str, Vectors]:
        """The vectors [d] of these passages as the base index holds them."""
        found: dict[str, Vectors] = {}
        [(manifest, _)] = self.layout.indexes("none")
        for files in manifest.shards:  # one in memory at a time
            found |= open_shard(self.layout.path / "index", files, manifest, "base", gpu=False).vectors_of(ids)
        if lost := set(ids) - set(found):
            raise WbragError(
                f"expected all {len(ids)} candidates in the base index, found none of {min(lost)!r} and "
                f"{len(lost) - 1} others: they were found in another corpus; enrich again"
            )
        return found

    def generator(self) -> Generator:
        """The language model."""
        return self.session.generator()

    def prepare(self, release: Release) -> None:
        """Open what `release` adds to the base, checksums first; raises `WbragError` for what is damaged."""
        for manifest, origin in self.layout.indexes(release):
            if origin == "writeback":
                open_shards(self.layout.path / "index", manifest, origin, gpu=False)
        self.layout.adapter(release)
        if reads := self.layout.reranker(release):
            open_reranker(reads)
