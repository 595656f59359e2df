"""Places in a gateway: the wait that is advised, and waits that are given up."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from unittest.mock import ANY

import pytest

from wbrag.serving.admission import Admission
from wbrag.serving.errors import Refusal


def test_one_at_work_is_never_idle() -> None:
    async def main() -> None:
        admission = Admission(1, 0)
        async with admission.slot():
            assert not await admission.drain(0.01)
        assert await admission.drain(0.01)

    asyncio.run(main())


def test_retry_after_follows_the_pace_of_the_last_half_minute() -> None:
    clock = [0.0]

    async def main() -> None:
        admission = Admission(1, 0, lambda: clock[0])
        assert admission.retry_after() == 1
        for _ in range(5):
            async with admission.slot():
                clock[0] += 4
        assert admission.retry_after() == 4  # five in 16 s, one place to wait for
        admission.waiting = 9
        assert admission.retry_after() == 32
        admission.waiting = 900
        assert admission.retry_after() == 60
        clock[0] += 31
        assert admission.retry_after() == 1
        with pytest.raises(Refusal, match="1 requests are at work"):
            async with admission.slot(), admission.slot():
                pass

    asyncio.run(main())


def test_a_wait_that_is_given_up_leaves_no_trace() -> None:
    async def main() -> None:
        admission = Admission(1, 5)
        async with admission.slot():
            waits = [asyncio.create_task(_pass(admission)) for _ in range(3)]
            await asyncio.sleep(0)
            assert admission.waiting == 3
            waits[0].cancel()
            await asyncio.sleep(0)
            started = time.perf_counter()
            assert not await admission.drain(0.01) and time.perf_counter() - started < 30
        await asyncio.gather(*waits[1:])
        assert (admission.working, admission.waiting) == (0, 0) and await admission.drain(0)

    asyncio.run(main())


async def _pass(admission: Admission, name: str = "") -> None:
    async with admission.slot(name):
        await asyncio.sleep(0)


def test_one_key_cannot_starve_another() -> None:
    """It takes all places and all of the queue; another's request waits one turn, and is not refused."""
    served: list[str] = []

    async def ask(admission: Admission, name: str) -> str:
        try:
            async with admission.slot(name):
                served.append(name)
                await asyncio.sleep(0.01)
        except Refusal as refused:
            return f"{refused.status_code} {refused.detail}"
        return "served"

    async def main() -> None:
        admission = Admission(4, 8)
        greedy = [asyncio.create_task(ask(admission, "greedy")) for _ in range(12)]
        await asyncio.sleep(0)
        assert (admission.working, admission.waiting) == (4, 8)
        assert (await ask(admission, "greedy")).startswith("429"), "of itself it gets no more"
        modest = [asyncio.create_task(ask(admission, "modest")) for _ in range(2)]
        assert await asyncio.gather(*modest) == ["served"] * 2
        assert served[4:6] == ["modest"] * 2, "its turn comes first: it has nothing at work"
        ends = await asyncio.gather(*greedy)
        assert ends.count("served") == 10 and ends[-2:] == [e for e in ends if e.startswith("429")]
        assert "yours gave way to a key with fewer" in ends[-1]
        assert (admission.working, admission.waiting) == (0, 0) and await admission.drain(0)
        assert not admission._lines and not admission._at_work and not admission._last

    asyncio.run(main())


def test_places_are_neither_lost_nor_made_whatever_is_given_up() -> None:
    """Random arrivals of several keys, some of which leave while they wait or in the moment that their turn comes."""

    async def main(seed: int) -> None:
        rng, admission, most = random.Random(seed), Admission(3, 5), 0

        async def ask(name: str) -> None:
            nonlocal most
            with suppress(Refusal):
                async with admission.slot(name):
                    most = max(most, admission.working)
                    await asyncio.sleep(0 if rng.random() < 0.5 else 0.001)

        tasks = []
        for _ in range(120):
            tasks.append(asyncio.create_task(ask(rng.choice("aaab"))))
            if rng.random() < 0.5:
                await asyncio.sleep(0)
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= 3 and (admission.working, admission.waiting) == (0, 0)
        assert await admission.drain(0) and not admission._lines and not admission._at_work

    for seed in range(40):
        asyncio.run(main(seed))


def test_whoever_has_just_left_makes_room() -> None:
    async def main() -> None:
        admission = Admission(1, 2)
        async with admission.slot("a"):
            waits = [asyncio.create_task(_pass(admission, "a")) for _ in range(2)]
            await asyncio.sleep(0)
            waits[-1].cancel()  # its task has not run yet: it stands in the line still
            other = asyncio.create_task(_pass(admission, "b"))
            await asyncio.sleep(0)
        assert await asyncio.gather(*waits, other, return_exceptions=True) == [None, ANY, None]
        assert (admission.working, admission.waiting) == (0, 0)

    asyncio.run(main())
