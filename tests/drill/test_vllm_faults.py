"""The real engine, killed: its own process under a living actor, and the actor over a living engine."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.hosts import renew
from tests.support.outcome import assert_same
from wbrag.core.config import load
from wbrag.workspace import Workspace

if TYPE_CHECKING:  # a plugin is imported by pytest
    from tests.support.enriching import Place

pytestmark = [pytest.mark.integration, pytest.mark.drill]
pytest_plugins = ["tests.support.enriching"]


def processes(name: str) -> list[psutil.Process]:
    """Those below this one whose command line begins with `name`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if (process.cmdline() or [""])[0].startswith(name):
                found.append(process)
    return found


def soon(true: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def test_a_killed_engine_costs_no_row_and_outlives_nobody(folder: Path, models: Place, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "unbroken")
    config = load(ray={"block_rows": 4}, generator={"concurrency": 8}, index={"block_rows": 8})
    renew(models.session, config)
    broken, unbroken = (Workspace(w, config, session=models.session) for w in (folder, tmp_path / "unbroken"))
    killed: list[int] = []

    def kill_the_engine() -> None:
        soon(lambda: list((folder / "verdicts").rglob("*.parquet")))
        [engine] = processes("VLLM::EngineCore")
        engine.kill()
        killed.append(engine.pid)

    killer = threading.Thread(target=kill_the_engine)
    killer.start()
    rows = broken.verdicts("toy/train").rows
    killer.join()
    assert not any(row["error"] for row in rows)

    unbroken.verdicts("toy/train")
    assert_same(folder / "verdicts", tmp_path / "unbroken" / "verdicts")
    [engine] = processes("VLLM::EngineCore")  # not before: a kill during the last rows leaves nothing to start one for
    assert killed and engine.pid not in killed

    [actor] = processes("ray::EngineActor")
    actor.kill()
    soon(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, 10)
