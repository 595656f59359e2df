"""Questions of one block are searched together, each once, and what a block does not hold is searched alone."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.types import Hit
from wbrag.retrieval.blocks import BlockRetriever, Blocks


class Searches:
    """Finds for each query a hit that says what was asked; fails whenever `bad` is among the queries."""

    def __init__(self, bad: str = "") -> None:
        self.asked, self.bad = list[list[str]](), bad

    async def search(self, queries: Sequence[str], k: int, allowed: Allowed = EVERYTHING) -> list[list[Hit]]:
        self.asked.append(list(queries))
        await asyncio.sleep(0)
        if self.bad in queries:
            raise ValueError(self.bad)
        return [[Hit(f"{query} {k}", "", "", 1.0)] for query in queries]


def of(searches: Searches) -> tuple[BlockRetriever, Blocks]:
    blocks = Blocks()
    return BlockRetriever(searches, blocks), blocks  # type: ignore[arg-type]


async def ids(retriever: BlockRetriever, *queries: str, k: int = 5) -> Any:
    return [[hit.id for hit in hits] for hits in await retriever.search(queries, k)]


def test_the_first_who_asks_asks_for_all() -> None:
    async def main() -> None:
        searches = Searches()
        retriever, blocks = of(searches)
        with blocks.of(["a", "b", "a", "c"]), blocks.of(["d"]):
            found = await asyncio.gather(*(ids(retriever, query) for query in "abcda"))
        assert found == [[["a 5"]], [["b 5"]], [["c 5"]], [["d 5"]], [["a 5"]]]
        assert sorted(searches.asked) == [["a", "b", "c"], ["d"]]

    asyncio.run(main())


def test_another_depth_another_query_and_two_at_once_are_searched_when_they_come() -> None:
    async def main() -> None:
        searches = Searches()
        retriever, blocks = of(searches)
        with blocks.of(["a", "b"]):
            assert await ids(retriever, "a") == [["a 5"]] and await ids(retriever, "b", k=9) == [["b 9"]]
            assert await ids(retriever, "x") == [["x 5"]] and await ids(retriever, "a", "b") == [["a 5"], ["b 5"]]
        assert searches.asked == [["a", "b"], ["a", "b"], ["x"], ["a", "b"]]
        await ids(retriever, "a")
        assert searches.asked[-1] == ["a"], "its block is over"

    asyncio.run(main())


def test_a_question_that_cannot_be_searched_for_fails_alone() -> None:
    async def main() -> None:
        retriever, blocks = of(Searches(bad="b"))
        with blocks.of(["a", "b"]):
            found = await asyncio.gather(*(ids(retriever, query) for query in "ab"), return_exceptions=True)
        assert found[0] == [["a 5"]] and isinstance(found[1], ValueError)

    asyncio.run(main())


def test_a_later_block_keeps_a_question_that_an_earlier_one_had_too_and_none_travels() -> None:
    blocks = Blocks()
    with blocks.of(["a"]):
        later = blocks.of(["a"])
        with later:
            assert copy.copy(blocks).holding("a") is None
            held = blocks.holding("a")
        assert held is not None and blocks.holding("a") is None
    with blocks.of(["a"]) as _, blocks.of(["b"]):
        assert blocks.holding("a") is not blocks.holding("b")
