"""Whoever kills is found, whoever does not is settled, in few deaths and few turns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from wbrag.generators.suspects import ALONE, PARTS, divided, sift


class Trial:
    def __init__(self, deadly: set[int]) -> None:
        self.deadly, self.settled, self.blamed = deadly, list[int](), list[int]()
        self.deaths = self.turns = 0

    async def tried(self, suspects: Sequence[int]) -> Sequence[int]:
        self.turns += 1
        if self.deadly & set(suspects):
            self.deaths += 1
            return suspects
        self.settled += suspects
        return []

    async def blame(self, suspect: int) -> None:
        self.blamed.append(suspect)


@given(st.integers(1, 3000), st.sets(st.integers(0, 2999), max_size=3))
def test_every_suspect_is_settled_or_blamed_once(count: int, deadly: set[int]) -> None:
    trial = Trial(deadly := {one for one in deadly if one < count})
    asyncio.run(divided(range(count), trial.tried, trial.blame))
    assert sorted([*trial.settled, *trial.blamed]) == list(range(count)) and set(trial.blamed) == deadly
    levels = 3  # 3,000 in parts of 188, of 12, of 1
    assert trial.deaths <= len(deadly) * (levels - 1 + ALONE)
    assert trial.turns <= PARTS * (1 + len(deadly) * (levels - 1)) + len(deadly) * ALONE


def test_bad_luck_is_forgiven() -> None:
    trial, left = Trial({0}), [ALONE - 1]

    async def tried(suspects: Sequence[int]) -> Sequence[int]:
        left[0] -= 1
        if left[0] < 0:
            trial.deadly = set()
        return await trial.tried(suspects)

    asyncio.run(sift([0], tried, trial.blame))
    assert trial.settled == [0] and not trial.blamed
