"""Local executor: search and single answers with plain asyncio in this process, without Ray.

Encoder, engine and the indexes of one release are loaded at the first need and kept until `close()`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from wbrag.core.allowed import Allowed, checked_filter
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.tasks import task as known_task
from wbrag.core.types import Answer, Generator, Hit, Sampling
from wbrag.enrich.start_check import no_answer
from wbrag.generators import build
from wbrag.methods import Rag
from wbrag.methods import method as named
from wbrag.retrieval.adapter import adapted
from wbrag.retrieval.encoder import BatchedEncoder
from wbrag.retrieval.external import open_base
from wbrag.retrieval.index.shard import open_shards
from wbrag.retrieval.query_encoder import LazyEncoder
from wbrag.retrieval.reranker import open_reranker
from wbrag.retrieval.retriever import IndexRetriever, LocalShard, NarrowRetriever
from wbrag.units.layout import Layout

Filter = Mapping[str, Any] | None  # of metadata: see `checked_filter`


class LocalExecutor:
    """Encoder, indexes and engine of this process, each loaded when it is first needed and kept until `close()`."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self._loop = layout, asyncio.Runner()
        self._opened: tuple[tuple[str, ...], IndexRetriever] | None = None
        self._generator: Generator | None = None

    @cached_property
    def encoder(self) -> BatchedEncoder:
        return BatchedEncoder(LazyEncoder(self.layout.config.encoder))

    def search(self, question: str, k: int, release: str, filter: Filter = None) -> list[Hit]:
        """The best `k` hits of `release` that `filter` lets pass."""
        if k < 1:
            raise UsageError(f"expected a k of at least 1, found {k}: ask for some hits")
        asked = _question(question)
        [hits] = self._loop.run(self._narrowed(release, filter).search([asked], k))
        return hits

    def ask(self, question: str, task: str, method: str, release: str, filter: Filter = None) -> Answer:
        """An answer from what `filter` lets pass of `release`. Raises `WbragError` where the model gives none."""
        config, question = self.layout.config, _question(question)
        self._generator = self._generator or build(config)
        sampling = Sampling(config.generator.max_answer_tokens, one_line=True)
        retriever, top_k = self._narrowed(release, filter), config.retrieval.top_k
        rag = Rag(self._generator, retriever, known_task(task), top_k, sampling, config.prompts_dir, config.methods)

        async def answer() -> Answer:
            return await named(method)(question, rag, None)

        found = self._loop.run(answer())
        if not found.text:
            ends = found.cost.ends
            thinking, cut = bool(ends.get("thinking only")), bool(ends.get("length"))
            raise WbragError(no_answer(config, thinking=thinking, cut=cut))
        return found

    def _narrowed(self, release: str, filter: Filter) -> NarrowRetriever:
        return NarrowRetriever(self.retriever(release), Allowed(None, checked_filter(filter)))

    def retriever(self, release: str) -> IndexRetriever:
        """The indexes of `release`, verified and loaded; of the release before, memory is given back."""
        row = self.layout.release(release)
        files = row.files
        if self._opened is None or self._opened[0] != files:
            config = self.layout.config
            gpu = config.index.gpus_per_shard > 0
            self._opened = None  # its memory first
            shards = [
                LocalShard(shard)
                for manifest, origin in self.layout.indexes(row)
                for shard in open_shards(self.layout.path / "index", manifest, origin, gpu=gpu)
            ]
            base = open_base(config, self.encoder)
            sources = self.layout.unit_sources()
            encoder = adapted(self.encoder, self.layout.adapter(row))
            model = self.layout.reranker(row)
            reads = (open_reranker(model), model) if model else None
            self._opened = files, IndexRetriever(encoder, shards, config.retrieval, sources, base, reads)
        return self._opened[1]

    def close(self) -> None:
        """Stop the engine."""
        if self._generator is not None:
            self._loop.run(self._generator.close())
            self._generator = None
        self._loop.close()


def _question(text: str) -> str:
    """The question without the space around it, and with ? for what is no character."""
    if not (found := text.strip()):
        raise UsageError("expected a question, found no text: write one")
    return found.encode("utf-8", "replace").decode()
