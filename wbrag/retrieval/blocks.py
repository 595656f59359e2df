"""Blocks: questions that are worked on together are encoded and searched together, when the first of them asks.

A block is one message to the encoder and one to each shard, in place of one a question, and a flat shard is read once
for all of it. What is asked otherwise (another query, another depth) is searched for when it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.types import Hit
from wbrag.retrieval.retriever import IndexRetriever


class Blocks:
    """The questions that are under way, block by block."""

    def __init__(self) -> None:
        self._of: dict[str, _Block] = {}

    @contextmanager
    def of(self, questions: Sequence[str]) -> Iterator[None]:
        """While it is open, these are searched together, each once for all who ask alike."""
        block = _Block(list(dict.fromkeys(questions)))
        self._of |= dict.fromkeys(block.questions, block)
        try:
            yield
        finally:
            for question in block.questions:
                if self._of.get(question) is block:  # else a later block has it too
                    del self._of[question]

    def holding(self, question: str) -> _Block | None:
        return self._of.get(question)

    def __reduce__(self) -> Any:
        return Blocks, ()  # what is under way is of one process


class _Block:
    def __init__(self, questions: list[str]) -> None:
        self.questions = questions
        self._found: dict[Any, asyncio.Future[dict[str, list[Hit]]]] = {}

    async def found(self, retriever: IndexRetriever, k: int, allowed: Allowed) -> dict[str, list[Hit]]:
        """The hits of all its questions."""
        key = retriever, k, allowed
        if key not in self._found:
            self._found[key] = asyncio.ensure_future(self._search(retriever, k, allowed))
        return await asyncio.shield(self._found[key])  # others wait for it too

    async def _search(self, retriever: IndexRetriever, k: int, allowed: Allowed) -> dict[str, list[Hit]]:
        try:
            return dict(zip(self.questions, await retriever.search(self.questions, k, allowed), strict=True))
        except Exception:  # each is searched for alone, and only the one at fault fails
            return {}


class BlockRetriever:
    """`Retriever`: another one, with the questions of a block searched together."""

    def __init__(self, retriever: IndexRetriever, blocks: Blocks) -> None:
        self.retriever, self.blocks = retriever, blocks

    async def search(self, queries: Sequence[str], k: int, allowed: Allowed = EVERYTHING) -> list[list[Hit]]:
        block = self.blocks.holding(queries[0]) if len(queries) == 1 else None
        found = await block.found(self.retriever, k, allowed) if block else {}
        return [list(found[queries[0]])] if found else await self.retriever.search(queries, k, allowed)
