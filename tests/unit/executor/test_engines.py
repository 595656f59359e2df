"""Which engine answers, and what becomes of calls whose engine dies under them; engines here are played in asyncio."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorUnavailableError, RayTaskError

from tests.support.played import played_ray
from wbrag.core.errors import NoAnswer, PromptRefused, WbragError
from wbrag.core.types import Sampling
from wbrag.executor.ray.engine_pool import EnginePool
from wbrag.executor.ray.engines import RemoteGenerator
from wbrag.executor.ray.failures import EnginesGone
from wbrag.generators.lease import Lease
from wbrag.generators.suspects import ALONE

GREEDY = Sampling()


class Life:
    """One process: what is under way when it dies is lost."""

    def __init__(self) -> None:
        self.turns, self.dead = Lease(), asyncio.get_running_loop().create_future()

    def die(self) -> None:
        if not self.dead.done():
            self.dead.set_result(True)


class Engine:
    """An actor whose process dies of the prompts in `poison`; `starts` says how its starts end, then all succeed."""

    def __init__(self, poison: Iterable[str] = (), starts: Sequence[Exception] = ()) -> None:
        self.poison, self.starts, self.life, self.deaths = set(poison), list(starts), Life(), 0
        self.ask, self.ask_alone = self._method(self._ask), self._method(self._ask_alone)
        self.turn, self.ready = self._method(lambda life: life.turns.claim()), self._method(self._ready, always=True)

    def _method(self, work: Callable[..., Coroutine[Any, Any, Any]], always: bool = False) -> Any:
        def remote(*arguments: Any) -> asyncio.Task[Any]:
            return asyncio.ensure_future(self._run(self.life, work, arguments, always))

        return SimpleNamespace(remote=remote, options=lambda **_: SimpleNamespace(remote=remote))

    async def _run(self, life: Life, work: Callable[..., Any], arguments: Any, always: bool) -> Any:
        call = asyncio.ensure_future(work(life, *arguments))
        if not always:
            await asyncio.wait([call, life.dead], return_when=asyncio.FIRST_COMPLETED)
            if life.dead.done():
                call.cancel()
                raise ActorUnavailableError("gone", None)
        return await call

    async def _ready(self, life: Life) -> bool:
        await asyncio.sleep(0.001)
        if self.starts:
            raise self.starts.pop(0)
        if self.life.dead.done():
            self.life, self.deaths = Life(), self.deaths + 1
        return True

    async def _work(self, life: Life, prompt: str) -> str:
        await asyncio.sleep(0)
        if prompt in self.poison:
            life.die()
        await asyncio.sleep(0.001)
        if prompt == "refused":
            raise RayTaskError("ask", "", PromptRefused("too long"))
        return prompt.upper()

    async def _ask(self, life: Life, method: str, prompt: str, sampling: Sampling) -> str:
        async with life.turns.together():
            return await self._work(life, prompt)

    async def _ask_alone(self, life: Life, turn: int, method: str, prompt: str, sampling: Sampling) -> str:
        async with life.turns.use(turn):
            return await self._work(life, prompt)


@pytest.fixture(autouse=True, scope="module")
def played() -> Any:
    with played_ray():
        yield


async def asked(pool: Sequence[Engine], prompts: Sequence[str]) -> list[Any]:
    """The reply, or the exception, to each prompt; all are asked at once."""
    generator = RemoteGenerator(EnginePool(pool, [engine.ready.remote() for engine in pool]), "f")
    calls = (generator.generate(prompt, GREEDY) for prompt in prompts)
    return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)


def test_an_engine_that_failed_never_answers() -> None:
    async def main() -> None:
        failed = [RayTaskError("ready", "", WbragError("no memory"))] * 99
        pool = [Engine(starts=failed), Engine(), Engine(starts=failed)]
        generator = RemoteGenerator(EnginePool(pool, [engine.ready.remote() for engine in pool]), "f")
        assert {await generator._next(b"%d" % n) for n in range(200)} == {pool[1]}

    asyncio.run(main())


def test_a_prompt_goes_to_the_same_engine_whoever_asks() -> None:
    async def main() -> None:
        pool = [Engine() for _ in range(4)]
        prompts = [b"prompt %d" % n for n in range(400)]
        one, two = (RemoteGenerator(EnginePool(pool, [e.ready.remote() for e in pool]), "f") for _ in range(2))
        await asyncio.sleep(0.01)
        chosen = [await one._next(prompt) for prompt in prompts]
        assert chosen == [await two._next(prompt) for prompt in reversed(prompts)][::-1]
        assert min(Counter(map(id, chosen)).values()) > 60, "about a hundred each"
        two.pool.down(chosen[0])
        moved = [(before, await two._next(prompt)) for before, prompt in zip(chosen, prompts)]
        assert all(before is after for before, after in moved if before is not chosen[0]), "only its own prompts move"

    asyncio.run(main())


def test_a_pool_of_failures_says_why_however_often_it_is_asked() -> None:
    async def main() -> None:
        failed = [RayTaskError("ready", "", WbragError("expected memory, found none"))] * 99
        replies = await asked([Engine(starts=failed), Engine(starts=failed)], ["a", "b", "c"])
        assert [(type(r), str(r)) for r in replies] == [(EnginesGone, "expected memory, found none")] * 3

    asyncio.run(main())


def test_a_start_that_fails_once_is_tried_again() -> None:
    async def main() -> None:
        assert await asked([Engine(starts=[RayTaskError("ready", "", WbragError("busy"))])], ["a"]) == ["A"]

    asyncio.run(main())


def test_what_the_generator_raises_comes_without_the_remote_traceback() -> None:
    async def main() -> None:
        [said] = await asked([Engine()], ["refused"])
        assert type(said) is PromptRefused and str(said) == "too long"

    asyncio.run(main())


@given(
    prompts=st.lists(st.integers(0, 40).map(str), min_size=1, max_size=40),
    poison=st.sets(st.integers(0, 40).map(str), max_size=4),
    count=st.integers(1, 3),
)
def test_poison_fails_and_all_others_are_answered(prompts: list[str], poison: set[str], count: int) -> None:
    async def main() -> None:
        pool = [Engine(poison) for _ in range(count)]
        replies = await asked(pool, prompts)
        for prompt, reply in zip(prompts, replies):
            assert isinstance(reply, NoAnswer) if prompt in poison else reply == prompt.upper()
        bad = sum(prompt in poison for prompt in prompts)
        assert sum(engine.deaths for engine in pool) <= bad * (ALONE + 1)

    asyncio.run(main())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8)), max_size=6))
def test_engines_killed_from_outside_cost_no_answer(kills: list[tuple[int, int]]) -> None:
    async def main() -> None:
        pool = [Engine() for _ in range(3)]

        async def kill() -> None:
            for which, pause in kills:
                await asyncio.sleep(pause / 1000)
                pool[which].life.die()

        killing = asyncio.ensure_future(kill())
        prompts = [f"q{n}" for n in range(40)]
        replies = await asked(pool, prompts)
        assert sum(isinstance(reply, NoAnswer) for reply in replies) <= len(kills) // ALONE
        assert all(isinstance(reply, NoAnswer) or reply == p.upper() for p, reply in zip(prompts, replies))
        await killing

    asyncio.run(main())
