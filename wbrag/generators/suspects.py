"""Suspects: of what was at work when an engine died, which one kills it, in few deaths and little time alone.

Half of a thousand suspects at a time would cost ten starts of an engine, one at a time a thousand turns: so they are
tried in parts, beside each other, and only the part that dies is divided further.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
PARTS = 16  # that suspects are divided into
ALONE = 3  # deaths with nothing else at work that put one at fault: two may be bad luck, on spot nodes


async def sift(
    suspects: Sequence[T],
    tried: Callable[[Sequence[T]], Awaitable[Sequence[T]]],
    blame: Callable[[T], Awaitable[None]],
) -> None:
    """Settle all `suspects`. `tried` works on some with the engine to themselves, and returns those it died under."""
    if len(suspects) == 1:
        for _ in range(ALONE):
            if not await tried(suspects):
                return
        await blame(suspects[0])
    elif left := await tried(suspects):
        await divided(left, tried, blame)


async def divided(
    suspects: Sequence[T],
    tried: Callable[[Sequence[T]], Awaitable[Sequence[T]]],
    blame: Callable[[T], Awaitable[None]],
) -> None:
    """The same, for some of which it is known that the engine has died under all of them together."""
    size = -(-len(suspects) // PARTS)
    for start in range(0, len(suspects), size):
        await sift(suspects[start : start + size], tried, blame)
