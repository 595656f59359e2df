"""Which engines answer: those that came up, never those that failed, whatever the order."""

from __future__ import annotations

from typing import Any

import pytest

from wbrag.hosts import actors


class Failed(Exception):
    pass


class FakeRay:
    """`wait` reports the references in order, one at a time; a reference that starts with "bad" holds an exception."""

    class exceptions:
        RayError = Failed

    @staticmethod
    def wait(refs: list[str], num_returns: int, timeout: float | None) -> tuple[list[str], list[str]]:
        return refs[:1], refs[1:]

    @staticmethod
    def get(ref: str) -> bool:
        if ref.startswith("bad"):
            raise Failed(ref)
        return True


def test_an_engine_that_failed_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "ray", FakeRay)
    pool: Any = actors.RemoteGenerator(["A", "B", "C"], ["bad-a", "b", "bad-c"], "f")
    assert {pool._next() for _ in range(6)} == {"B"}


def test_a_pool_of_failures_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "ray", FakeRay)
    with pytest.raises(Failed, match="bad-b"):
        actors.RemoteGenerator(["A", "B"], ["bad-a", "bad-b"], "f")._next()
