"""Retries for external stores: exponential backoff with jitter, waits of at most 1, 2, 4 ... 30 s.

Only a failure that may pass is tried again; the last one becomes one `WbragError`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import sleep
from typing import TypeVar

from wbrag.core.errors import WbragError

BACKOFF_BASE_S, BACKOFF_CAP_S = 1.0, 30.0
T = TypeVar("T")


class Again(Exception):
    """A failure that may pass; `wait_s` is what the store asks to wait."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def patiently(where: str, work: Callable[[], T], retries: int) -> T:
    """What `work` returns, tried `retries` times more where it raises `Again`; then one sentence about `where`."""
    for attempt in range(retries + 1):
        try:
            return work()
        except Again as failure:
            last = failure
        if attempt < retries:
            drawn = random.random() * min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0**attempt)
            sleep(drawn if last.wait_s is None else min(last.wait_s, BACKOFF_CAP_S) + random.random())
    raise WbragError(
        f"expected an answer from {where}, found {last} in {retries + 1} tries: check that it runs and is not busy"
    )
