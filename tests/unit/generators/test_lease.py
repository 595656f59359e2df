"""One caller alone, all others held off; and nobody waits for an owner that never comes."""

from __future__ import annotations

import asyncio

from wbrag.generators.lease import Lease


def test_a_turn_waits_for_those_at_work_and_holds_off_the_others() -> None:
    async def main() -> None:
        turns, log = Lease(), list[str]()
        go = asyncio.Event()

        async def beside(name: str) -> None:
            async with turns.together():
                log.append(name)
                await go.wait()

        async def alone() -> None:
            number = await turns.claim()
            log.append("claimed")
            async with turns.use(number):
                await asyncio.sleep(0.01)
                log.append("alone")

        first = asyncio.create_task(beside("before"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        owner = asyncio.create_task(alone())
        await asyncio.sleep(0.01)
        later = [asyncio.create_task(beside("after")), asyncio.create_task(alone())]
        await asyncio.sleep(0.01)
        assert log == ["before"], "the claim waits, and lets nobody else in"
        go.set()
        await asyncio.wait_for(asyncio.gather(first, owner, *later), 60)
        assert log[:3] == ["before", "claimed", "alone"] and sorted(log[3:]) == ["after", "alone", "claimed"]
        assert log.index("claimed", 3) + 1 == log.index("alone", 3), "nobody between the claim and its use"

    asyncio.run(main())


def test_a_turn_that_is_never_used_lapses_and_its_number_is_no_turn_any_more() -> None:
    async def main() -> None:
        turns = Lease(lease_s=0.02)
        lapsed = await turns.claim()
        async with asyncio.timeout(60):
            async with turns.together():
                pass
            async with turns.together(), turns.use(lapsed):  # beside others
                pass

    asyncio.run(main())


def test_who_is_cancelled_while_claiming_holds_nobody_off() -> None:
    async def main() -> None:
        turns = Lease()
        async with turns.together():
            claiming = asyncio.create_task(turns.claim())
            await asyncio.sleep(0.01)
            claiming.cancel()
            await asyncio.gather(claiming, return_exceptions=True)
            async with asyncio.timeout(60), turns.together():
                pass

    asyncio.run(main())
