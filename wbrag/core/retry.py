"""Retry policy, for tenacity to follow: how often a call is tried again, and the wait in between.

Every wait is slept here: WBRAG_RETRY_WAITS scales them all, in this process and in those that it starts (tests: 0).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import WaitBaseT

T = TypeVar("T")
CAP_S = 30.0
REPLICAS = stop_after_attempt(3)  # for a request that changes nothing: where one replica dies, another is asked at once


def retried(work: Callable[[], T], tries: int, may_pass: Callable[[BaseException], bool], wait: WaitBaseT) -> T:
    """What `work` returns, called at most `tries` times while it raises what may pass; then that is raised."""
    policy = Retrying(
        stop=stop_after_attempt(tries), retry=retry_if_exception(may_pass), wait=wait, sleep=sleep, reraise=True
    )
    return policy(work)


def backoff_s(tried: int, asked_s: float | None, uniform: Callable[[], float] = random.random) -> float:
    """Seconds after so many tries: what is asked for and up to one more, lest all return at once, or drawn below 1, 2,
    4 ... 30."""
    if asked_s is not None:
        return asked_s + uniform()
    return uniform() * min(CAP_S, 2.0 ** min(tried - 1, 16))


def sleep(seconds: float) -> None:
    time.sleep(_scaled(seconds))


async def sleep_async(seconds: float) -> None:
    await asyncio.sleep(_scaled(seconds))


def _scaled(seconds: float) -> float:
    return seconds * float(os.environ.get("WBRAG_RETRY_WAITS", "1"))
