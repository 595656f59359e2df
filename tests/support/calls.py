"""Functions that a task on Ray can import."""

from __future__ import annotations

import time

from wbrag.core.errors import WbragError


def later(number: int, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return number


def fails(number: int) -> int:
    raise WbragError(f"expected an even number, found {number}: choose another")
