"""Which engine has which rows, and what becomes of blocks whose engine dies under them; engines are played."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorUnavailableError, RayTaskError

from tests.support.outcome import rows_of
from tests.support.played import played_ray
from wbrag.core.errors import WbragError
from wbrag.core.types import Example
from wbrag.enrich.row_jobs import DistilJob
from wbrag.enrich.rows import example_json
from wbrag.executor.ray import dispatch
from wbrag.executor.ray.dispatch import Block, Dispatcher, homes
from wbrag.executor.ray.engine_pool import EnginePool
from wbrag.executor.ray.failures import EnginesGone, NotUp
from wbrag.executor.ray.row_worker import Output, Told, Work
from wbrag.generators.suspects import ALONE


class Engine:
    """An actor whose process dies of the rows in `poison`; what is under way when it dies is lost."""

    def __init__(self, poison: set[str], deaths: int = 0) -> None:
        self.poison, self.kills, self.deaths = poison, deaths, 0
        self.dead = asyncio.Event()
        self.done, self.at_work, self.most = list[str](), 0, 0
        self.stop = ""
        self.rows, self.ready = self._method(self._rows), self._method(self._ready)

    def _method(self, work: Any) -> Any:
        def remote(*arguments: Any) -> asyncio.Task[Any]:
            return asyncio.ensure_future(work(*arguments))

        return SimpleNamespace(remote=remote, options=lambda **_: SimpleNamespace(remote=remote))

    async def _ready(self) -> int:
        await asyncio.sleep(0.001)
        if self.dead.is_set():
            self.dead, self.deaths, self.at_work = asyncio.Event(), self.deaths + 1, 0
        return 4

    async def _rows(self, work: Work, rows: Sequence[str], proven: bool) -> Told:
        dead = self.dead
        if dead.is_set():
            raise ActorUnavailableError("gone", None)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await asyncio.sleep(0)
        if self.poison & set(rows) or self.kills:
            self.kills = max(0, self.kills - 1)
            dead.set()
        pause, death = asyncio.ensure_future(asyncio.sleep(0.001)), asyncio.ensure_future(dead.wait())
        await asyncio.wait([pause, death], return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if dead.is_set():
            raise ActorUnavailableError("gone", None)
        self.at_work -= 1
        if self.stop == "raise":
            raise RayTaskError("rows", "", WbragError("expected a file, found none"))
        self.done += rows
        return Told(self.stop, True)


@pytest.fixture(autouse=True, scope="module")
def played() -> Any:
    with played_ray() as patch:
        patch.setattr(dispatch, "STEALS_S", 0.01)
        yield


def dispatcher(engines: Sequence[Engine], folder: Path) -> Dispatcher:
    pool = EnginePool(engines, [engine.ready.remote() for engine in engines])
    return Dispatcher(pool, Work("pass", ()), DistilJob(None), Output(folder, "distil"), 4)  # type: ignore[arg-type]


def row(number: int) -> str:
    return example_json(Example(str(number), "who?", ()))


def blocks_of(numbers: Sequence[int], engines: int, size: int = 4) -> list[Block]:
    cut = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    return [Block(place % engines, [row(number) for number in part]) for place, part in enumerate(cut)]


async def worked(engines: Sequence[Engine], blocks: Sequence[Block], folder: Path) -> list[Told]:
    dispatching = dispatcher(engines, folder)
    return await asyncio.wait_for(asyncio.gather(*map(dispatching, blocks)), 60)


@given(poison=st.sets(st.integers(0, 29), max_size=3), count=st.integers(1, 3))
def test_rows_that_kill_are_quarantined_and_no_other_is_lost(
    poison: set[int], count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")

    async def main() -> None:
        engines = [Engine({row(number) for number in poison}) for _ in range(count)]
        told = await worked(engines, blocks_of(range(30), count), folder)
        assert not any(one.stop for one in told)
        done = Counter(text for engine in engines for text in engine.done)
        assert done == Counter(row(number) for number in range(30) if number not in poison), "once each"
        assert all(engine.most <= 2 for engine in engines)

    asyncio.run(main())
    failed = rows_of(folder) if poison else {}
    assert set(failed) == {str(number) for number in poison}
    assert all(f"found {ALONE} deaths of its process with nothing else" in one["error"] for one in failed.values())


@given(kills=st.lists(st.integers(0, 4), min_size=2, max_size=2))
def test_engines_killed_from_outside_cost_no_row(kills: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    async def main() -> None:
        engines = [Engine(set(), deaths) for deaths in kills]
        told = await worked(engines, blocks_of(range(40), 2), tmp_path_factory.mktemp("rows"))
        done = {text for engine in engines for text in engine.done}
        assert not any(one.stop for one in told) and len(done) >= 40 - sum(kills) // ALONE

    asyncio.run(main())


def test_a_block_goes_to_its_own_engine_and_to_another_where_that_has_no_room_for_long(tmp_path: Path) -> None:
    async def main() -> None:
        engines = [Engine(set()) for _ in range(3)]
        blocks = blocks_of(range(96), 3)
        await worked(engines, blocks, tmp_path)
        for place, engine in enumerate(engines):
            assert set(engine.done) == {text for block in blocks if block.home == place for text in block.rows}
        stuck, free = Engine(set()), Engine(set())
        stuck.rows = stuck._method(lambda *_: asyncio.sleep(0.2, Told()))
        await worked([stuck, free], blocks_of(range(40), 2), tmp_path)
        assert len(free.done) == 40 - 2 * 4, "all but the two blocks that the slow one had room for"

    asyncio.run(main())


def test_what_a_worker_says_stops_the_run_and_nothing_more_is_begun(tmp_path: Path) -> None:
    async def main() -> None:
        engine = Engine(set())
        engine.stop = "the model is down"
        told = await worked([engine], blocks_of(range(400), 1), tmp_path)
        assert {one.stop for one in told} == {"the model is down"} and len(engine.done) < 40

    asyncio.run(main())


def test_an_engine_that_does_not_start_is_no_rows_fault(tmp_path: Path) -> None:
    """It came up once, and the process that has taken its place has no engine and gets none."""

    async def main() -> None:
        broken, whole = Engine(set()), Engine(set())

        async def refused(*_: object) -> Told:
            raise RayTaskError("rows", "NotUp: no", NotUp("expected vLLM to start, found no memory"))

        broken.rows = broken._method(refused)
        dispatching = dispatcher([broken, whole], tmp_path)
        assert len(await dispatching.pool.up()) == 2
        broken.ready = broken._method(refused)
        told = await asyncio.wait_for(asyncio.gather(*map(dispatching, blocks_of(range(40), 2))), 60)
        assert not any(one.stop for one in told)
        assert sorted(whole.done) == sorted(row(number) for number in range(40))

    asyncio.run(main())


def test_deaths_of_an_idle_engine_count_for_no_row(tmp_path: Path) -> None:
    """A node goes, and its engines are still taken to be up: rows that never began are not to blame."""

    async def main() -> None:
        engines = [Engine(set()) for _ in range(4)]
        dispatching = dispatcher(engines, tmp_path)
        assert len(await dispatching.pool.up()) == 4
        for engine in engines:
            engine.dead.set()
        told = await asyncio.wait_for(dispatching(Block(0, [row(1)])), 60)
        assert not told.stop and [text for engine in engines for text in engine.done] == [row(1)]

    asyncio.run(main())


def test_engines_that_start_no_more_stop_the_run_and_an_error_of_the_worker_ends_it(tmp_path: Path) -> None:
    async def main() -> None:
        engine = Engine(set())
        dispatching = dispatcher([engine], tmp_path)
        dispatching.pool.up = gone  # type: ignore[method-assign]
        assert (await dispatching(Block(0, [row(1)]))).stop == "no engine"
        engine.stop = "raise"
        with pytest.raises(WbragError, match="^expected a file, found none$"):
            await worked([engine], blocks_of(range(4), 1), tmp_path)

    async def gone() -> Any:
        raise EnginesGone("no engine")

    asyncio.run(main())


@given(st.lists(st.text(max_size=6), unique=True, max_size=60), st.integers(1, 8))
def test_homes_are_even_and_the_same_in_any_order(questions: list[str], engines: int) -> None:
    examples = [Example(str(n), question, ()) for n, question in enumerate(questions)]
    found = homes(examples, engines)
    counts = Counter({home: 0 for home in range(engines)}) + Counter(found)
    assert set(found) <= set(range(engines))
    assert max(counts.values(), default=0) - min((counts[h] for h in range(engines)), default=0) <= 1
    turned = homes(examples[::-1], engines)
    assert turned[::-1] == found
