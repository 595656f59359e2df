"""An engine that dies is started again, a prompt that kills it is found, and everybody else is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.errors import EngineDied, NoAnswer, PromptRefused, UsageError, WbragError
from wbrag.core.types import Completion, Sampling
from wbrag.generators.enduring import STARTS, EnduringGenerator, NoEngine
from wbrag.generators.suspects import ALONE

GREEDY = Sampling()


class Makes:
    """Engines, one after the other, that die of the prompts in `poison`; `starts` says how their starts end."""

    def __init__(self, poison: set[str] | None = None, starts: list[Exception] | None = None) -> None:
        self.poison, self.starts, self.made = poison or set(), starts or [], list[Mortal]()

    def __call__(self) -> Any:
        self.made.append(Mortal(self))
        return self.made[-1]


class Mortal:
    fingerprint = "f"

    def __init__(self, makes: Makes) -> None:
        self.makes, self.dead, self.closed = makes, asyncio.Event(), False

    async def start(self) -> None:
        await asyncio.sleep(0)
        if self.makes.starts:
            raise self.makes.starts.pop(0)
        if self.dead.is_set():
            raise EngineDied("gone")

    async def generate(self, prompt: str, sampling: Sampling) -> str:
        assert not self.closed, "asked after it was closed"
        await asyncio.sleep(0)
        if prompt in self.makes.poison:
            self.dead.set()
        work = asyncio.ensure_future(asyncio.sleep(0.001))
        death = asyncio.ensure_future(self.dead.wait())
        await asyncio.wait([work, death], return_when=asyncio.FIRST_COMPLETED)
        if self.dead.is_set():
            raise EngineDied("gone")
        death.cancel()
        if prompt == "refused":
            raise PromptRefused("too long")
        return prompt.upper()

    async def stream(self, prompt: str, sampling: Sampling) -> Any:
        """Letter by letter; one that is `slow` dies in the middle."""
        for letter in await self.generate(prompt, sampling):
            yield Completion(letter)
            if prompt == "slow":
                self.dead.set()
            if self.dead.is_set():
                raise EngineDied("gone")

    async def close(self) -> None:
        self.closed = True


async def asked(makes: Makes, prompts: list[str]) -> list[Any]:
    generator = EnduringGenerator(makes)
    await generator.start()
    calls = (generator.generate(prompt, GREEDY) for prompt in prompts)
    found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    await generator.close()
    return found


@given(
    prompts=st.lists(st.integers(0, 40).map(str), min_size=1, max_size=40),
    poison=st.sets(st.integers(0, 40).map(str), max_size=3),
)
def test_poison_fails_and_all_others_are_answered(prompts: list[str], poison: set[str]) -> None:
    async def main() -> None:
        makes = Makes(poison)
        for prompt, reply in zip(prompts, await asked(makes, prompts), strict=True):
            assert isinstance(reply, NoAnswer) if prompt in poison else reply == prompt.upper()
        bad = sum(prompt in poison for prompt in prompts)
        assert len(makes.made) <= 1 + bad * (ALONE + 2)
        assert all(engine.closed for engine in makes.made), "one was left running beside the next"

    asyncio.run(main())


def test_what_the_generator_raises_is_no_death() -> None:
    async def main() -> None:
        makes = Makes()
        [said] = await asked(makes, ["refused"])
        assert type(said) is PromptRefused and len(makes.made) == 1

    asyncio.run(main())


def test_a_bad_setting_is_refused_at_the_start_and_nothing_is_left_running() -> None:
    async def main() -> None:
        makes = Makes(starts=[WbragError("expected memory, found none")])
        generator = EnduringGenerator(makes)
        with pytest.raises(WbragError, match="^expected memory"):
            await generator.start()
        assert makes.made[0].closed
        await generator.start()  # another try of whoever started it
        assert len(makes.made) == 2

    asyncio.run(main())


def test_an_engine_that_was_killed_while_idle_starts_again_when_it_is_asked_whether_it_works() -> None:
    async def main() -> None:
        makes = Makes()
        generator = EnduringGenerator(makes)
        await generator.start()
        makes.made[0].dead.set()
        await generator.start()
        assert len(makes.made) == 2 and await generator.generate("a", GREEDY) == "A"  # type: ignore[comparison-overlap]

    asyncio.run(main())


def test_one_that_does_not_start_again_says_why() -> None:
    async def main() -> None:
        makes = Makes({"a"})
        generator = EnduringGenerator(makes)
        await generator.start()
        makes.starts = [WbragError("no memory")] * STARTS
        with pytest.raises(NoEngine, match="does not: no memory"):
            await generator.generate("a", GREEDY)

    asyncio.run(main())


def test_one_that_cannot_even_be_made_again_says_why() -> None:
    """Its folder is gone, and nobody asked for ever."""

    async def main() -> None:
        makes, gone = Makes({"a"}), False

        def make() -> Any:
            if gone:
                raise UsageError("expected a model folder, found none")
            return makes()

        generator = EnduringGenerator(make)
        await generator.start()
        gone = True
        with pytest.raises(NoEngine, match="found none"):
            await asyncio.wait_for(generator.generate("a", GREEDY), 60)

    asyncio.run(main())


def test_starts_are_counted_once_for_all_who_wait() -> None:
    async def main() -> None:
        makes = Makes({"a"})
        generator = EnduringGenerator(makes)
        await generator.start()
        makes.starts = [WbragError("no memory")] * 99
        calls = (generator.generate(prompt, GREEDY) for prompt in ["a", *"bcdefghij"])
        found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        assert all(isinstance(one, NoEngine) for one in found) and len(makes.made) == 1 + STARTS

    asyncio.run(main())


def test_who_leaves_is_not_waited_for_and_holds_nobody_up() -> None:
    async def main() -> None:
        makes = Makes({"a"})
        generator = EnduringGenerator(makes)
        await generator.start()
        left = asyncio.ensure_future(generator.generate("a", GREEDY))
        others = [asyncio.ensure_future(generator.generate(prompt, GREEDY)) for prompt in "bc"]
        while len(makes.made) == 1:
            await asyncio.sleep(0)
        left.cancel()
        assert await asyncio.wait_for(asyncio.gather(*others), 60) == ["B", "C"]
        assert await asyncio.wait_for(generator.generate("d", GREEDY), 60) == "D"  # type: ignore[comparison-overlap]

    asyncio.run(main())


def test_a_stream_under_which_an_engine_dies_is_answered_whole_if_nothing_was_said_yet() -> None:
    async def heard(generator: EnduringGenerator, prompt: str) -> list[Any]:
        return [piece if isinstance(piece, str) else piece.text async for piece in generator.stream(prompt, GREEDY)]

    async def main() -> None:
        makes = Makes({"a"})
        generator = EnduringGenerator(makes)
        await generator.start()
        assert await heard(generator, "bc") == ["B", "C"]
        killer, other = asyncio.ensure_future(heard(generator, "a")), asyncio.ensure_future(heard(generator, "de"))
        with pytest.raises(NoAnswer):
            await asyncio.wait_for(killer, 60)
        assert await asyncio.wait_for(other, 60) == ["DE"]
        made = len(makes.made)
        with pytest.raises(EngineDied):  # half of it was read by somebody
            await asyncio.wait_for(heard(generator, "slow"), 60)
        assert await heard(generator, "f") == ["F"] and len(makes.made) == made + 1
        assert all(engine.closed for engine in makes.made[:-1])

    asyncio.run(main())


def test_one_that_does_not_start_any_more_fails_its_check() -> None:
    async def main() -> None:
        makes = Makes({"a"}, starts=[WbragError("no memory")] * 9)
        generator = EnduringGenerator(makes)
        for _ in range(9):  # whoever starts it may try as often as they like
            with pytest.raises(WbragError, match="^no memory"):
                await generator.start()
            generator.check()
        await generator.start()
        makes.starts = [WbragError("no memory")] * STARTS
        with pytest.raises(NoEngine):
            await generator.generate("a", GREEDY)
        with pytest.raises(NoEngine, match="no memory"):
            generator.check()

    asyncio.run(main())


def test_a_start_goes_on_when_whoever_asked_for_it_has_left() -> None:
    """A request may take a minute, a model ninety seconds to load: one load, however many give up."""

    async def main() -> None:
        loaded = asyncio.Event()

        class Slow(Mortal):
            async def start(self) -> None:
                if len(self.makes.made) > 1:
                    await loaded.wait()
                await super().start()

        makes = Makes()
        generator = EnduringGenerator(lambda: makes.made.append(Slow(makes)) or makes.made[-1])  # type: ignore[func-returns-value, arg-type, return-value]
        await generator.start()
        makes.made[0].dead.set()
        for prompt in "abc":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(generator.generate(prompt, GREEDY), 0.02)
        loaded.set()
        assert await asyncio.wait_for(generator.generate("d", GREEDY), 60) == "D"  # type: ignore[comparison-overlap]
        assert len(makes.made) == 2

    asyncio.run(main())


def test_closing_ends_a_start_and_whoever_waits_for_it() -> None:
    async def main() -> None:
        class Never(Mortal):
            async def start(self) -> None:
                if len(self.makes.made) > 1:
                    await asyncio.Event().wait()

        makes = Makes({"a"})
        generator = EnduringGenerator(lambda: makes.made.append(Never(makes)) or makes.made[-1])  # type: ignore[func-returns-value, arg-type, return-value]
        await generator.start()
        waiting = [asyncio.ensure_future(generator.generate(prompt, GREEDY)) for prompt in "ab"]
        while len(makes.made) == 1:
            await asyncio.sleep(0)
        await asyncio.wait_for(generator.close(), 60)
        found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
        assert all(isinstance(one, WbragError) for one in found) and all(engine.closed for engine in makes.made)

    asyncio.run(main())


def test_one_that_was_closed_is_not_started_again() -> None:
    async def main() -> None:
        makes = Makes()
        generator = EnduringGenerator(makes)
        await generator.start()
        await generator.close()
        with pytest.raises(NoEngine, match="closed"):
            await generator.generate("a", GREEDY)
        assert len(makes.made) == 1

    asyncio.run(main())
