"""What no node can hold is refused before anything starts, in one sentence that says what helps."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from wbrag.core.errors import UsageError
from wbrag.executor.ray import capacity
from wbrag.executor.ray import engine_pool as module
from wbrag.executor.ray.capacity import GIB, Asked, check
from wbrag.executor.ray.engine_pool import EnginePool
from wbrag.executor.ray.failures import EnginesGone

SMALL = {"CPU": 4.0, "memory": 8.0 * GIB}
LARGE = {"CPU": 64.0, "GPU": 8.0, "memory": 500.0 * GIB}


@pytest.mark.parametrize("asked", [Asked("x", 4), Asked("x", 1, 1), Asked("x", 1, 8, 500.0 * GIB), Asked("x")])
def test_what_fits_a_node(asked: Asked) -> None:
    check([asked], [SMALL, LARGE])


def test_what_fits_none() -> None:
    """Two nodes of four cores are no node of eight."""
    with pytest.raises(UsageError) as refused:
        check([Asked("builds", 8, memory=100 * GIB, lower="raise index.shards")], [SMALL, SMALL])
    assert str(refused.value) == (
        "expected a node with 8 CPUs and 100.0 GiB of memory for builds, found none: the largest has 4 CPUs and 8.0 "
        "GiB of memory; raise index.shards, or add such a node"
    )
    with pytest.raises(
        UsageError, match="a node with 1 CPUs and 16 GPUs for an engine, found none: the largest has 64"
    ):
        check([Asked("an engine", 1, 16)], [SMALL, LARGE])


@pytest.mark.parametrize(
    ("up", "groups", "expected"),
    [
        ([SMALL], [], 1),
        ([SMALL, LARGE], [], 2),
        ([{"memory": 8.0 * GIB}, SMALL], [], 1),  # a head without cores
        ([SMALL], [(SMALL, 5), (LARGE, 2), ({"CPU": 0.0}, 1)], 7),  # a group counts what is up already
        ([SMALL, SMALL], [(SMALL, 1)], 2),
        ([SMALL], [(SMALL, -1), (LARGE, 2)], capacity.MANY),  # no bound
    ],
)
def test_nodes_that_may_host_an_actor(
    monkeypatch: pytest.MonkeyPatch, up: list[Any], groups: list[tuple[Any, int]], expected: int
) -> None:
    there = [{"Alive": True, "Resources": node} for node in up] + [{"Alive": False, "Resources": LARGE}]
    monkeypatch.setattr(capacity.ray, "nodes", lambda: there)
    to_come = [SimpleNamespace(resources=node, max_count=count) for node, count in groups]
    monkeypatch.setattr(capacity, "_groups", lambda: to_come)
    assert capacity.hosts(Asked("x", 0.5)) == expected


def test_engines_that_never_start_end_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.ray, "wait", lambda refs, **how: ([], refs))
    monkeypatch.setattr(module, "pending", lambda: "2 of EngineActor")
    pool = EnginePool(["a", "b"], ["ref a", "ref b"], limit_s=0.05)
    wanted = r"within 0 s, found all 2 still starting \(without a place are 2 of EngineActor\): add nodes"
    with pytest.raises(EnginesGone, match=wanted):
        asyncio.run(pool.up())


def test_encoders_join_as_they_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from wbrag.executor.ray import model_actors

    up: list[Any] = []
    monkeypatch.setattr(model_actors.ray, "wait", lambda refs, **how: ([r for r in refs if r in up], refs))
    monkeypatch.setattr(model_actors.ray, "get", lambda ref: ref)
    encoder = model_actors.RemoteEncoder(["a", "b", "c"], ["ref a", "ref b", "ref c"])
    assert encoder.up() == []
    up += ["ref b"]
    assert [asyncio.run(encoder.next_actor()) for _ in range(3)] == ["b"] * 3
    up += ["ref a", "ref c"]
    assert sorted(asyncio.run(encoder.next_actor()) for _ in range(6)) == ["a", "a", "b", "b", "c", "c"]
