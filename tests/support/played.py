"""Ray played in asyncio, for the engine pool: its references are tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from wbrag.executor.ray import engine_pool


@contextmanager
def played_ray() -> Iterator[pytest.MonkeyPatch]:
    """While it lasts; what is patched on what it yields ends with it."""

    def wait(tasks: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return [task for task in tasks if task.done()], [task for task in tasks if not task.done()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_pool, "ray", SimpleNamespace(wait=wait, get=lambda task: task.result()))
        patch.setattr(engine_pool, "POLL_S", 0.001)
        yield patch
