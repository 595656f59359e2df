"""Retries for external stores: exponential backoff with jitter, waits of at most 1, 2, 4 ... 30 s.

Only a failure that may pass is tried again; the last one becomes one `WbragError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState

from wbrag.core.errors import WbragError
from wbrag.core.retry import CAP_S, backoff_s, retried

T = TypeVar("T")


class TransientError(Exception):
    """A failure that may pass; `wait_s` is what the store asks to wait, of which `CAP_S` are heard."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = None if wait_s is None else min(wait_s, CAP_S)


def with_retries(where: str, work: Callable[[], T], retries: int) -> T:
    """What `work` returns; tried `retries` times more where it raises `TransientError`, then one error on `where`."""
    try:
        return retried(work, retries + 1, lambda error: isinstance(error, TransientError), _wait_s)
    except TransientError as last:
        raise WbragError(
            f"expected an answer from {where}, found {last} in {retries + 1} tries: check that it runs and is not busy"
        ) from None


def _wait_s(state: RetryCallState) -> float:
    return backoff_s(state.attempt_number, state.outcome.exception().wait_s)  # type: ignore[union-attr]
