"""A suite from its file to its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wbrag.bench.grid import Bench, run_grid
from wbrag.bench.page import write_report
from wbrag.bench.suite import load_suite, prepare
from wbrag.config import GeneratorConfig
from wbrag.workspace import Workspace


def run_suite(workspace: Workspace, suite: str | Path, data: str | Path | None = None) -> Bench:
    """Run the grid of the suite file and write its page to `reports/suites/`; relative paths begin at `data`."""
    wanted = load_suite(suite)
    prepare(workspace, wanted, data)
    if any(wanted.models.values()):
        workspace.close()  # each model opens a session of its own, and needs the GPUs

    def opened(generator: dict[str, Any]) -> Workspace:
        if not generator:
            return workspace
        config = workspace.config
        changed = GeneratorConfig(**{**config.generator.model_dump(), **generator})
        config = config.model_copy(update={"generator": changed})
        return Workspace(workspace.path, config, progress=workspace.progress)

    bench = run_grid(wanted, opened)
    write_report(bench, workspace.path / "reports" / "suites")
    return bench
