"""Ray tasks: one function over many arguments, side by side, and not for ever while none of them has a place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray

from wbrag.core.errors import WbragError
from wbrag.executor.ray.failures import translated

T = TypeVar("T")
LOOKS_S = 1.0


def side_by_side(function: Callable[..., T], over: Sequence[tuple[Any, ...]], what: str, limit_s: float) -> Iterator[T]:
    """What `function` gives for each of `over`, in their order, each worked out by a task that asks for one core.

    A task may take as long as it needs. Raises `WbragError` where none has had a core for `limit_s`, and for what a
    task raised; `what` names the step.
    """
    task = ray.remote(_begun_and_done).options(num_cpus=1, num_returns="streaming", scheduling_strategy="SPREAD")
    waiting = {task.remote(function, arguments): number for number, arguments in enumerate(over)}
    placed, found, given = set[Any](), dict[int, T](), 0
    since = time.monotonic()
    try:
        while given < len(over):
            with translated(what):
                for one in ray.wait(list(waiting), timeout=LOOKS_S)[0]:
                    said = ray.get(next(one))
                    if one in placed:  # its first word was that it has a core, its second is what it has found
                        placed.discard(one)
                        found[waiting.pop(one)] = said
                    else:
                        placed.add(one)
            while given in found:
                yield found.pop(given)
                given += 1
                since = time.monotonic()  # whoever took it may have taken long
            if placed:
                since = time.monotonic()
            elif given < len(over) and time.monotonic() - since > limit_s:
                raise WbragError(
                    f"expected a core for {what} within {limit_s:.0f} s, found none free for its {len(waiting)} tasks: "
                    "add nodes, stop what holds them, or raise ray.start_timeout_s"
                )
    finally:
        for one in waiting:
            ray.cancel(one)


def _begun_and_done(function: Callable[..., T], arguments: tuple[Any, ...]) -> Iterator[Any]:
    yield True
    yield function(*arguments)
