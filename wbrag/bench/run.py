"""A suite from its file to its report."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from wbrag.bench.grid import Bench, run_grid
from wbrag.bench.page import write_report
from wbrag.bench.suite import Suite, load_suite, prepare
from wbrag.config import Config, EncoderConfig, GeneratorConfig
from wbrag.enrich.scores import SCORING
from wbrag.generators import check
from wbrag.methods import Needs, needs
from wbrag.workspace import Workspace


def run_suite(workspace: Workspace, suite: str | Path, data: str | Path | None = None) -> Bench:
    """Run the grid of the suite file and write its page to `reports/suites/`; relative paths begin at `data`."""
    wanted = load_suite(suite)
    if wanted.encoder:
        workspace.close()
        encoder = EncoderConfig(**{**workspace.config.encoder.model_dump(), **wanted.encoder})
        workspace.config = workspace.config.model_copy(update={"encoder": encoder})
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

    for settings in wanted.models.values():
        asyncio.run(check(opened(settings).config, _needs(wanted, workspace.config)))
    for bench in run_grid(wanted, opened):
        write_report(bench, workspace.path / "reports" / "suites")
    return bench


def _needs(suite: Suite, config: Config) -> set[Needs]:
    """What the models must be able to do, found out before hours of work."""
    asked = {SCORING[metric] for metric in suite.studies.gate_metric if metric in SCORING}
    return asked | {needs(method, config.methods) for method in suite.methods}
