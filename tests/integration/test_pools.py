"""Row actors and encoders follow the engines and encoders that there are: none of them waits for work."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from tests.support.hosts import OnRay
from tests.support.pools import AskingJob, DelayedEngine
from wbrag.core.config import load
from wbrag.core.types import Example
from wbrag.enrich.row_jobs import Handles
from wbrag.executor.ray.engines import RemoteGenerator
from wbrag.executor.ray.row_pass import run_rows


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_engine_has_rows_of_its_own(on_ray: OnRay, tmp_path: Path, count: int) -> None:
    """A pool that may grow never did: one process fed them all, at some 285 calls a second."""
    on_ray.session.connect()
    config = load(
        generator={"engines": (1, count), "concurrency": 8, "backend": "openai", "base_url": "http://x/v1"},
        ray={"spread_above": 0, "block_rows": 4},
    )
    engines = [DelayedEngine.remote(0.2) for _ in range(count)]  # type: ignore[attr-defined]
    generator = RemoteGenerator(engines, [engine.ready.remote() for engine in engines], "f")
    examples = [Example(str(i), f"{i}?", ("yes",)) for i in range(96 * count)]
    found, _ = run_rows(config, AskingJob(config), lambda: Handles(None, [], generator), examples, tmp_path / "rows")  # type: ignore[arg-type]
    reports = ray.get([engine.report.remote() for engine in engines])
    for engine in engines:
        ray.kill(engine)
    assert len(found) == len(examples) and not any(row["error"] for row in found.values())
    assert len({row["prediction"] for row in found.values()}) == count  # processes that worked on rows
    calls = [calls for calls, _, _, _ in reports]
    assert sum(calls) == 2 * len(examples)
    assert min(calls) > 0.6 * sum(calls) / count  # by the hash of the prompt
    assert all(busy > 0.5 * (last - first) for _, busy, first, last in reports)
