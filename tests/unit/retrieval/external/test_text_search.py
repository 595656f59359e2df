"""A retriever of somebody else's, as a base: what is refused, what is left out, how its hits are scored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from wbrag.core.errors import WbragError
from wbrag.core.sections import RetrievalConfig
from wbrag.core.types import Hit
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.external.text_search import TextSearchBase
from wbrag.retrieval.retriever import IndexRetriever

UNIT = "wb-0123456789abcdef"


@dataclass
class Fixed:
    """A retriever with one ranking for every query."""

    hits: Sequence[Any]
    asked: list[int] = field(default_factory=list)

    async def search(self, queries: Sequence[str], k: int) -> list[list[Any]]:
        self.asked.append(k)
        return [list(self.hits[:k]) for _ in queries]


class Directions:
    """A text's vector is written in it: `north` (1, 0), `east` (0, 1), anything else in between."""

    async def queries(self, texts: Sequence[str]) -> Vectors:
        between = np.array([0.6, 0.8])
        named = {"north": np.array([1.0, 0.0]), "east": np.array([0.0, 1.0])}
        return np.array([named.get(text.split("\n")[-1], between) for text in texts], dtype=np.float32)

    async def passages(self, contents: Sequence[str]) -> Vectors:
        return await self.queries(contents)


def hit(id: str, score: float = 0.5, text: str = "x", origin: Any = "base") -> Hit:
    return Hit(id, "t", text, score, origin)


def found(retriever: Any, k: int = 3, *, rescore: bool = False) -> list[Hit]:
    [hits] = asyncio.run(TextSearchBase(retriever, Directions(), rescore).search(["north"], np.array([[1.0, 0.0]]), k))
    return hits


def test_hits_are_scored_with_wbrags_encoder_unless_it_is_told_otherwise() -> None:
    bm25 = [hit("a", 31.5, "east"), hit("b", 12.0, "north"), hit("c", 3.0)]
    scored = found(Fixed(bm25), rescore=True)
    assert [(h.id, round(h.score, 3)) for h in scored] == [("a", 0.0), ("b", 1.0), ("c", 0.6)]
    assert found(Fixed([hit("a", 0.9, "east")])) == [hit("a", 0.9, "east")]
    with pytest.raises(WbragError, match="found the score 31.5 .* retriever.rescore true"):
        found(Fixed(bm25))


def test_pushed_units_are_left_out_and_passages_take_their_places() -> None:
    units = [hit(UNIT), hit("marked", origin="writeback"), *(hit(f"wb-{i:016x}") for i in range(5))]
    store = Fixed([*units, hit("a"), hit("b"), hit("c"), hit("d")])
    assert [h.id for h in found(store)] == ["a", "b", "c"]
    assert store.asked == [3, 6, 12]
    assert [h.id for h in found(Fixed([*units, hit("a")]))] == ["a"], "a store that has no more is not asked again"


def test_what_an_outside_retriever_may_not_give_is_named() -> None:
    class OneTooMany(Fixed):
        async def search(self, queries: Sequence[str], k: int) -> list[list[Any]]:
            return [[hit("a"), hit("b")][: k + 1], []]

    for hits, said in (
        ([hit("a", float("nan"))], "finite scores"),
        ([hit("a"), hit("a")], "once"),
        ([hit("")], "id, title and text"),
        ([hit(7)], "id, title and text"),  # type: ignore[arg-type]
    ):
        with pytest.raises(WbragError, match=said):
            found(Fixed(hits))
    with pytest.raises(WbragError, match="1 queries .* found 2 lists"):
        found(OneTooMany([]))
    with pytest.raises(WbragError, match="at most 3 hits"):
        asyncio.run(TextSearchBase(Longer([hit(c) for c in "abcd"])).hits(["q"], 3))


class Longer(Fixed):
    async def search(self, queries: Sequence[str], k: int) -> list[list[Any]]:
        return [list(self.hits) for _ in queries]


def test_it_is_merged_with_units_like_wbrags_own_index() -> None:
    class Units:
        origin = "writeback"

        async def search(
            self, queries: Vectors, k: int, words: object = None, allowed: object = None
        ) -> list[list[Hit]]:
            return [[hit(UNIT, 0.7, origin="writeback"), hit("wb-1", 0.1, origin="writeback")]]

    base = TextSearchBase(Fixed([hit("a", 31.5, "east"), hit("b", 12.0, "north"), hit("c", 3.0)]), Directions())
    retriever = IndexRetriever(Directions(), [Units()], RetrievalConfig(), base=base)  # type: ignore[list-item]
    [hits] = asyncio.run(retriever.search(["north"], 3))
    assert [h.id for h in hits] == ["b", UNIT, "c"]
    displacing = RetrievalConfig(displace_sources=True)
    sources = {UNIT: frozenset({"b"})}
    one = IndexRetriever(Directions(), [Units()], displacing, sources, base)  # type: ignore[list-item]
    [hits] = asyncio.run(one.search(["north"], 3))
    assert [h.id for h in hits] == [UNIT, "c", "wb-1"], "three were asked for, two of the store's four places are left"
