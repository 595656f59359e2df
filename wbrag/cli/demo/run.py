"""Demo pipeline: `wbrag demo`, the main job on the embedded world, encoder and model, with two controls and a page.

All libraries answer the same held-out questions, so that every gain is paired.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from wbrag.core.io.files import location, write_atomically
from wbrag.core.metrics import Comparison, bootstrap_ci, compare, paired
from wbrag.core.progress import bar
from wbrag.evaluation.bench.libraries import copies, library, raw, retained_passages
from wbrag.evaluation.demo_world import prepare
from wbrag.workspace import Workspace

Rows = Sequence[dict[str, Any]]
PARTS = (("whole", ""), ("reworded", "reworded-"), ("new_facts", "new-"))


class Stages:
    """Seconds of every stage, in order."""

    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds.append((name, round(time.monotonic() - start, 2)))


def run_demo(workspace: Workspace, page: str | None = None, limit: int | None = None) -> dict[str, Any]:
    """Build, index, evaluate, enrich, publish, evaluate again; returns the whole story as one JSON document."""
    from wbrag.cli.demo.story import tell
    from wbrag.evaluation.report.page import write_page

    clock = Stages()
    start = time.monotonic()
    with clock.stage("build the world"), bar("building the demo's world", shown=workspace.progress):
        if not (workspace.path / "index" / "base.json").is_file():
            workspace.session.start()  # meanwhile the corpus is read, and the encoder has passages to encode
        prepare(workspace.layout, limit)
    with clock.stage("index"):
        workspace.index()
    arms: dict[str, Rows] = {}
    with clock.stage("evaluate closed book"):
        arms["closed_book"] = workspace.answers("demo/test", release="closed-book")
    with clock.stage("evaluate base"):
        arms["base"] = workspace.answers("demo/test", release="none")
    with clock.stage("enrich"):
        enrichment = workspace.enrich("demo/train")
    verdicts = workspace.verdicts("demo/train").rows
    with clock.stage("diagnose"):
        diagnosis = workspace.diagnose("demo/train", limit=None)
    if workspace.approve_what_passed() or workspace.releases.all():
        with clock.stage("publish"):
            release = workspace.publish("wbrag demo")
        with clock.stage("evaluate write-back"):
            arms["writeback"] = workspace.answers("demo/test", release=release.id)
        with clock.stage("evaluate controls"):
            passages = retained_passages(workspace.path / "index", workspace.base()[0], verdicts)
            for name, documents in (
                ("control_raw", raw(verdicts, passages)),
                ("control_copies", copies(verdicts, passages)),
            ):
                arms[name] = workspace.answers("demo/test", release=name, indexes=library(workspace.runner, documents))
    else:  # nothing to publish: the trained library is the base library
        arms |= {name: arms["base"] for name in ("writeback", "control_raw", "control_copies")}
    gains = compare_arms(arms, workspace.config.seed)
    story = replace(tell(workspace, arms, gains, enrichment, verdicts, clock.seconds), diagnosis=diagnosis)
    path = location(page) if page else workspace.path / "reports" / "demo.html"
    write_page(story, path)
    summary = headline(arms, gains, enrichment) | {
        "units": story.funnel.units_published,
        "seconds": round(time.monotonic() - start, 1),
        "page": str(path),
        "story": story.to_json(),
    }
    write_atomically(workspace.path / "reports" / "demo.json", json.dumps(summary, indent=1) + "\n")
    return summary


def compare_arms(arms: dict[str, Rows], seed: int) -> dict[str, Comparison]:
    """The gain over base, whole and by half, and the gain over each control, all paired by question."""
    wanted = {
        "gain": ("base", ""),
        "gain_reworded": ("base", "reworded-"),
        "gain_new_facts": ("base", "new-"),
        "gain_over_control_raw": ("control_raw", ""),
        "gain_over_control_copies": ("control_copies", ""),
    }
    return {
        name: compare(*paired(half(arms[other], prefix), half(arms["writeback"], prefix)), seed=seed)
        for name, (other, prefix) in wanted.items()
    }


def half(rows: Rows, prefix: str) -> Rows:
    """The questions whose id starts with `prefix`."""
    return [row for row in rows if row["id"].startswith(prefix)]


def scores(rows: Rows) -> list[float]:
    """Of every question that did not fail."""
    return [row["score"] for row in rows if not row["error"]]


def headline(arms: dict[str, Rows], gains: dict[str, Comparison], enrichment: dict[str, Any]) -> dict[str, Any]:
    """The stable keys of `wbrag demo --json`."""
    found: dict[str, Any] = {name: _mean(scores(rows)) for name, rows in arms.items()}
    for name, rows in arms.items():
        found[f"{name}_ci95"] = list(bootstrap_ci(scores(rows)))
    for name, gain in gains.items():
        found |= {name: gain.gain, f"{name}_ci95": list(gain.ci95), f"{name}_p": gain.p}
    return {**found, "p": gains["gain"].p, "enrich": enrichment}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
