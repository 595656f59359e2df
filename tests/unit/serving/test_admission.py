"""Places in a gateway: the wait that is advised, and waits that are given up."""

from __future__ import annotations

import asyncio
import time

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


async def _pass(admission: Admission) -> None:
    async with admission.slot():
        await asyncio.sleep(0)
