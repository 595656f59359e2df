"""Two calls timed turn by turn, so that a change of the machine's speed meets both.

The first round of each warms up and does not count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def in_turn(one: Callable[[], Any], other: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of each over `rounds`."""
    took: tuple[list[float], list[float]] = [], []
    for _ in range(rounds + 1):
        for call, seconds in zip((one, other), took):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return statistics.median(took[0][1:]), statistics.median(took[1][1:])
