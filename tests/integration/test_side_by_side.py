"""Tasks of a real Ray: results in order, errors in one sentence, and no waiting for a core that never comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import pytest
import ray

from tests.support.calls import fails, later
from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.executor.ray.session import Session
from wbrag.executor.ray.tasks import side_by_side

WHAT = "the counting"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    session = Session(load())
    session.connect()
    yield
    session.close()


def test_results_come_in_the_order_of_what_was_asked() -> None:
    asked = [(number, 0.4 if number == 0 else 0.0) for number in range(30)]
    assert list(side_by_side(later, asked, WHAT, 30)) == list(range(30))
    assert list(side_by_side(later, [], WHAT, 30)) == []


def test_what_a_task_raises_is_said_as_it_was() -> None:
    with pytest.raises(WbragError, match="^expected an even number, found 3: choose another$"):
        list(side_by_side(fails, [(3,)], WHAT, 30))


def test_a_task_that_works_longer_than_the_limit_is_waited_for() -> None:
    assert list(side_by_side(later, [(1, 3.0)], WHAT, 0.5)) == [1]


def test_no_core_ends_in_a_sentence() -> None:
    held = ray.remote(later).options(num_cpus=1)
    cores = int(ray.cluster_resources()["CPU"])
    holding = [held.remote(number, 60.0) for number in range(cores)]
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) >= 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    try:
        with pytest.raises(WbragError, match=r"expected a core for the counting within 1 s, found none free for its 2"):
            list(side_by_side(later, [(1,), (2,)], WHAT, 1))
    finally:
        for one in holding:
            ray.cancel(one, force=True)
    assert list(side_by_side(partial(later, 7), [()], WHAT, 60)) == [7]
