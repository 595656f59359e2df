"""The fan-out over shards, and queries that are encoded together."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from tests.support.fakes import CountingEncoder
from wbrag.core.sections import RetrievalConfig
from wbrag.core.types import Hit, Origin
from wbrag.retrieval.encoder import BatchedEncoder, Vectors
from wbrag.retrieval.merge import best
from wbrag.retrieval.retriever import IndexRetriever, LocalShard


@dataclass
class FakeShard:
    """A remote shard: the score of passage `id` is its table entry times the query's first component."""

    scores: dict[str, float]
    origin: Origin = "base"
    delay_s: float = 0.0
    depths: list[int] = field(default_factory=list)

    async def search(self, queries: Vectors, k: int, words: object = None, allowed: object = None) -> list[list[Hit]]:
        self.depths.append(k)
        await asyncio.sleep(self.delay_s)
        return [best(self._hits(float(query[0])), k) for query in queries]

    def _hits(self, factor: float) -> list[Hit]:
        return [Hit(id, id, id, score * factor, self.origin) for id, score in self.scores.items()]


def batched(encoder: CountingEncoder) -> BatchedEncoder:
    return BatchedEncoder(cast(Any, encoder))


def retriever(shards: Sequence[FakeShard], encoder: CountingEncoder | None = None, **options: Any) -> IndexRetriever:
    sources = options.pop("sources", None)
    return IndexRetriever(batched(encoder or CountingEncoder()), shards, RetrievalConfig(**options), sources)


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.id for hit in hits]


SCORES = {f"p{n}": n % 4 / 4 for n in range(12)}


@pytest.mark.parametrize("k", [1, 3, 5, 20])
def test_fan_out_equals_one_shard(k: int) -> None:
    names = sorted(SCORES)
    parts = [FakeShard({n: SCORES[n] for n in names[i::3]}, delay_s=(3 - i) / 1000) for i in range(3)]
    questions = ["a", "bbb"]
    one = asyncio.run(retriever([FakeShard(SCORES)]).search(questions, k))
    assert asyncio.run(retriever(parts).search(questions, k)) == one
    assert [len(hits) for hits in one] == [min(k, 12)] * 2
    assert one[0][0] == Hit("p11", "p11", "p11", 0.75)
    assert one[1][0].score == 3 * 0.75


def test_both_indexes_in_one_ranking() -> None:
    shards = [FakeShard({"p1": 0.9, "p2": 0.5}), FakeShard({"wb1": 0.7, "wb2": 0.5, "wb3": 0.4}, "writeback")]
    [hits] = asyncio.run(retriever(shards).search(["q"], 4))
    assert ids(hits) == ["p1", "wb1", "p2", "wb2"]
    assert [hit.origin for hit in hits] == ["base", "writeback", "base", "writeback"]
    [hits] = asyncio.run(retriever(shards, max_writeback_share=0.25).search(["q"], 4))
    assert ids(hits) == ["p1", "wb1", "p2"]
    [hits] = asyncio.run(retriever(shards, max_writeback_share=0.0).search(["q"], 4))
    assert ids(hits) == ["p1", "p2"]


def test_displaced_sources_are_replaced_by_the_next_passages() -> None:
    base = FakeShard({f"p{n}": 0.9 - n / 10 for n in range(6)})
    writeback = FakeShard({"wb1": 0.95}, "writeback")
    sources = {"wb1": frozenset({"p0", "p1", "p2"})}
    [plain] = asyncio.run(retriever([base, writeback], sources=sources).search(["q"], 3))
    assert ids(plain) == ["wb1", "p0", "p1"]
    [hits] = asyncio.run(retriever([base, writeback], sources=sources, displace_sources=True).search(["q"], 3))
    assert ids(hits) == ["wb1", "p3", "p4"]
    assert base.depths == [3, 12]


def test_no_questions_ask_nobody() -> None:
    encoder, shard = CountingEncoder(), FakeShard(SCORES)
    assert asyncio.run(retriever([shard], encoder).search([], 3)) == []
    assert not encoder.batches
    assert not shard.depths


def test_no_shards_no_hits() -> None:
    assert asyncio.run(retriever([]).search(["a", "b"], 3)) == [[], []]


def test_a_failing_shard_fails_the_search() -> None:
    class Lost(FakeShard):
        async def search(
            self, queries: Vectors, k: int, words: object = None, allowed: object = None
        ) -> list[list[Hit]]:
            raise ConnectionError("lost")

    with pytest.raises(ConnectionError, match="lost"):
        asyncio.run(retriever([FakeShard(SCORES), Lost({})]).search(["a"], 3))


def test_concurrent_queries_are_one_batch() -> None:
    fake = CountingEncoder()

    async def scenario() -> list[Vectors]:
        encoder = batched(fake)
        return list(await asyncio.gather(*(encoder.queries(["x" * n, "y"]) for n in range(1, 31))))

    for n, vectors in enumerate(asyncio.run(scenario()), 1):
        np.testing.assert_array_equal(vectors, [[n, 1], [1, 1]])
    assert [len(batch) for batch in fake.batches] == [60]


def test_what_arrives_during_a_batch_is_the_next_one() -> None:
    fake = CountingEncoder()

    async def scenario() -> None:
        encoder = batched(fake)
        fake.gate.clear()
        first = asyncio.create_task(encoder.queries(["a"]))
        while not fake.batches:
            await asyncio.sleep(0.001)
        later = [asyncio.create_task(encoder.queries([text])) for text in ("b", "c", "d")]
        await asyncio.sleep(0.001)
        fake.gate.set()
        await asyncio.gather(first, *later)

    asyncio.run(scenario())
    assert fake.batches == [["a"], ["b", "c", "d"]]


def test_an_error_reaches_its_batch_and_no_later_one() -> None:
    fake = CountingEncoder(fails={0: RuntimeError("out of memory")})

    async def scenario() -> None:
        encoder = batched(fake)
        failed = await asyncio.gather(encoder.queries(["a", "b"]), encoder.queries(["c"]), return_exceptions=True)
        assert [str(error) for error in failed] == ["out of memory"] * 2
        assert (await encoder.queries(["dd"])).tolist() == [[2, 1]]

    asyncio.run(scenario())
    assert fake.batches == [["a", "b", "c"], ["dd"]]


def test_a_query_that_waited_behind_a_failed_batch_is_answered() -> None:
    fake = CountingEncoder(fails={0: RuntimeError("out of memory")})

    async def scenario() -> None:
        encoder = batched(fake)
        fake.gate.clear()
        first = asyncio.create_task(encoder.queries(["a"]))
        while not fake.batches:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(encoder.queries(["bb"]))
        await asyncio.sleep(0.001)
        fake.gate.set()
        with pytest.raises(RuntimeError, match="out of memory"):
            await first
        assert (await second).tolist() == [[2, 1]]

    asyncio.run(scenario())


def test_a_cancelled_query_does_not_disturb_its_batch() -> None:
    fake = CountingEncoder()

    async def scenario() -> None:
        encoder = batched(fake)
        fake.gate.clear()
        impatient, patient = asyncio.create_task(encoder.queries(["a"])), asyncio.create_task(encoder.queries(["bb"]))
        while not fake.batches:
            await asyncio.sleep(0.001)
        impatient.cancel()
        await asyncio.sleep(0)
        fake.gate.set()
        assert (await patient).tolist() == [[2, 1]]
        assert impatient.cancelled()

    asyncio.run(scenario())


def test_one_encoder_serves_one_event_loop_after_another() -> None:
    encoder = batched(CountingEncoder())
    for _ in range(2):
        assert asyncio.run(encoder.queries(["abc"])).tolist() == [[3, 1]]


@dataclass
class CountedShard:
    """A shard of this process: the one hit of a query is named by its first component."""

    origin: Origin = "base"
    batches: list[int] = field(default_factory=list)
    broken: bool = False

    def search(self, queries: Vectors, k: int, *how: object) -> list[list[Hit]]:
        self.batches.append(len(queries))
        if self.broken:
            raise OSError("gone")
        return [[Hit(f"{query[0]:g}/{k}", "", "", 1.0)] for query in queries]


def test_a_shard_let_go_of_is_closed_at_once() -> None:
    """Its memory and its maps are needed for the next one; cycles would keep them until Python looks for some."""
    gc.disable()
    try:
        shard = CountedShard()
        gone = weakref.ref(shard)
        local = LocalShard(cast(Any, shard))
        asyncio.run(local.search(np.zeros((1, 1), np.float32), 5))
        del shard, local
        assert gone() is None
    finally:
        gc.enable()


def test_searches_that_come_while_one_runs_are_the_next_one() -> None:
    counted, begun, go = CountedShard(), threading.Event(), threading.Event()
    search = counted.search

    def slow(queries: Vectors, k: int, *how: object) -> list[list[Hit]]:
        begun.set()
        assert go.wait(60)
        return search(queries, k)

    counted.search = slow  # type: ignore[method-assign]
    shard = LocalShard(cast(Any, counted))

    async def one_after_the_other() -> None:
        first = asyncio.create_task(shard.search(np.zeros((1, 1), np.float32), 5))
        assert await asyncio.to_thread(begun.wait, 60)
        others = [asyncio.create_task(shard.search(np.zeros((1, 1), np.float32), 5)) for _ in range(20)]
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, *others)

    asyncio.run(one_after_the_other())
    assert counted.batches == [1, 20]


def test_searches_that_come_together_are_one() -> None:
    counted = CountedShard()
    shard = LocalShard(cast(Any, counted))

    def queries(*numbers: float) -> Vectors:
        return np.array([[n] for n in numbers], np.float32)

    async def together() -> list[list[str]]:
        left = asyncio.create_task(shard.search(queries(9), 5))
        asyncio.get_running_loop().call_soon(left.cancel)  # its caller leaves, the others go on
        found = await asyncio.gather(
            shard.search(queries(1), 5), shard.search(queries(2, 3), 5), shard.search(queries(4), 7)
        )
        return [[hit.id for hits in one for hit in hits] for one in found]

    for _ in range(2):  # in one event loop after another
        counted.batches.clear()
        assert asyncio.run(together()) == [["1/5"], ["2/5", "3/5"], ["4/7"]]
        assert sorted(counted.batches) in ([1, 3], [1, 4])
    counted.broken = True
    with pytest.raises(OSError, match="gone"):
        asyncio.run(together())
