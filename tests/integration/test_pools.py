"""Rows follow the engines that there are: none of them waits for work."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from tests.support.hosts import OnRay
from tests.support.pools import AskingJob, DelayedEngine
from wbrag.core.config import load
from wbrag.core.types import Example
from wbrag.enrich.row_jobs import Handles
from wbrag.enrich.rows import Row
from wbrag.executor.ray.engine_pool import EnginePool
from wbrag.executor.ray.engines import RemoteGenerator
from wbrag.executor.ray.row_pass import run_rows

Report = tuple[int, float, float, float]


def worked(on_ray: OnRay, folder: Path, starts: list[float], rows: int) -> tuple[dict[str, Row], list[Report]]:
    """The rows of a pass over engines that are up after so many seconds, and what each engine says of its work."""
    on_ray.session.connect()
    config = load(
        generator={"engines": (1, len(starts)), "concurrency": 8, "backend": "openai", "base_url": "http://x/v1"},
        ray={"spread_above": 0, "block_rows": 4},
    )
    engines = [DelayedEngine.remote(config, 0.2, start) for start in starts]  # type: ignore[attr-defined]
    ray.get([engine.report.remote() for engine in engines])  # their processes run: `starts` count from here
    generator = RemoteGenerator(EnginePool(engines, [engine.ready.remote() for engine in engines]), "f")
    examples = [Example(str(i), f"{i}?", ("yes",)) for i in range(rows)]
    found, _ = run_rows(config, AskingJob(config), lambda: Handles(None, [], generator), examples, folder / "rows")  # type: ignore[arg-type]
    reports = ray.get([engine.report.remote() for engine in engines])
    for engine in engines:
        ray.kill(engine)
    assert len(found) == rows and not any(row["error"] for row in found.values())
    return found, reports


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_engine_has_rows_of_its_own(on_ray: OnRay, tmp_path: Path, count: int) -> None:
    """A pool that may grow never did: one process fed them all, at some 285 calls a second."""
    found, reports = worked(on_ray, tmp_path, [0.0] * count, rows=96 * count)
    assert len({row["prediction"] for row in found.values()}) == count  # rows run in the engines' own processes
    calls = [calls for calls, _, _, _ in reports]
    assert sum(calls) == 2 * len(found)
    assert min(calls) > 0.8 * sum(calls) / count
    assert all(busy > 0.5 * (last - first) for _, busy, first, last in reports)


@pytest.mark.integration
@pytest.mark.slow
def test_an_engine_that_comes_up_later_takes_its_share(on_ray: OnRay, tmp_path: Path) -> None:
    _, [first, late] = worked(on_ray, tmp_path, [0.0, 10.0], rows=900)
    assert late[2] - first[2] > 3, "the pass began without it"
    while_both = first[3] - late[2]
    assert late[0] > 0.25 * (first[0] + late[0]) and late[1] > 0.5 * while_both
