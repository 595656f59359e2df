"""Greedy replies are worked out once, others every time, failures again."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.scripted import ScriptedGenerator
from wbrag.core.types import Message, Sampling
from wbrag.generators.cached import CachedGenerator

ASK = [Message("user", "who?")]


def test_one_greedy_call_serves_all_even_at_the_same_time() -> None:
    async def run() -> int:
        scripted = ScriptedGenerator(lambda messages, sampling: "she", delay_s=0.01)
        memo = CachedGenerator(scripted)
        replies = await asyncio.gather(*(memo.generate(ASK, Sampling()) for _ in range(5)))
        assert {r.text for r in replies} == {"she"}
        await memo.generate(ASK, Sampling(max_tokens=3))
        return len(scripted.calls)

    assert asyncio.run(run()) == 2


def test_sampling_is_never_remembered() -> None:
    async def run() -> int:
        scripted = ScriptedGenerator(lambda messages, sampling: "she")
        memo = CachedGenerator(scripted)
        for _ in range(3):
            await memo.generate(ASK, Sampling(temperature=0.7))
        return len(scripted.calls)

    assert asyncio.run(run()) == 3


def test_a_failure_is_tried_again() -> None:
    async def run() -> None:
        memo = CachedGenerator(ScriptedGenerator(lambda messages, sampling: "she", failures={0: RuntimeError("no")}))
        with pytest.raises(RuntimeError):
            await memo.generate(ASK, Sampling())
        assert (await memo.generate(ASK, Sampling())).text == "she"

    asyncio.run(run())
