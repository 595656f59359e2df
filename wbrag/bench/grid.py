"""The grid: every cell is one model, method and set, with each library answering the same held-out questions.

A cell's rows stand in the workspace's own verdict and answer folders, named by what decides them, so that a killed
bench goes on at the row it was in and a second one repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wbrag.bench.libraries import Document, copies, library, raw, retained_passages, units
from wbrag.bench.studies import Study, against
from wbrag.bench.suite import QuestionSet, Suite
from wbrag.enrich.summary import summarise
from wbrag.metrics import bootstrap_ci, compare, holm
from wbrag.store import Index
from wbrag.tasks import task
from wbrag.workspace import Workspace

Rows = list[dict[str, Any]]
Opener = Callable[[dict[str, Any]], Workspace]  # generator settings -> a workspace that uses them


@dataclass(frozen=True)
class Bench:
    """What a suite came to: one record per score, per paired comparison, and per construction of a library."""

    suite: str
    scores: Rows
    comparisons: Rows
    construction: Rows
    points: Rows


def run_grid(suite: Suite, workspace: Callable[[dict[str, Any]], Workspace]) -> Bench:
    """Every cell of `suite`; `workspace(settings)` opens the prepared workspace with a model's generator settings."""
    scores: Rows = []
    comparisons: Rows = []
    construction: Rows = []
    points: Rows = []
    made: dict[tuple[str, str, str], list[Document]] = {}
    for model, settings in suite.models.items():
        with workspace(settings) as opened:
            for set_name, questions in suite.sets.items():
                closed = opened.answers(questions.test, release="closed-book", limit=questions.test_limit)
                for method in suite.methods:
                    cell = {"model": model, "method": method, "set": set_name}
                    arms, built, made[model, method, set_name], found = run_cell(opened, suite, method, questions)
                    arms = {"closed_book": closed, **arms}
                    metric = task(opened.examples(questions.test, 1)[0].task).metric
                    scores += [cell | {"arm": arm, "metric": metric, **_score(rows)} for arm, rows in arms.items()]
                    comparisons += [cell | {"over": arm, **_compare(arms, arm)} for arm in arms if arm != "writeback"]
                    construction.append(cell | built)
                    points += [cell | point for point in found]
    if suite.studies.cross:
        points += cross(suite, workspace, made)
    return Bench(suite.name, scores, _corrected(comparisons), construction, points)


def run_cell(
    workspace: Workspace, suite: Suite, method: str, questions: QuestionSet
) -> tuple[dict[str, Rows], dict[str, Any], list[Document], Rows]:
    """The answers of every library but the closed book's; how the units came to be; the units; the studies' points."""

    def answers(name: str, indexes: list[Index]) -> Rows:
        return workspace.answers(
            questions.test, release=name, method=method, limit=questions.test_limit, indexes=indexes
        )

    arms = {"base": answers("base", workspace.indexes("none"))}
    study = Study(workspace, method, questions, arms["base"]) if suite.needs_all_scores else None
    verdicts = (
        study.verdicts if study else workspace.run_gates(questions.train, method=method, limit=questions.train_limit)
    )
    documents = {"writeback": units(verdicts)}
    if suite.controls:
        passages = retained_passages(workspace.path / "index", workspace.base()[0], verdicts)
        kinds = {"raw": raw, "copies": copies}
        documents |= {f"control_{kind}": kinds[kind](verdicts, passages) for kind in suite.controls if kind in kinds}
        documents |= study.controls(suite.controls) if study else {}
    for name, found in documents.items():
        arms[name] = answers(name, library(workspace, found))
    summary = summarise(verdicts, workspace.config.enrich.top_k)
    points = list(study.run(suite.studies)) if study else []
    return arms, {**summary, "units": len(set(documents["writeback"]))}, documents["writeback"], points


def cross(
    suite: Suite, workspace: Callable[[dict[str, Any]], Workspace], made: dict[tuple[str, str, str], list[Document]]
) -> Rows:
    """Units made with one method or model, used by another (paper, Fig. 4): `value` names where they came from."""
    points: Rows = []
    for model, settings in suite.models.items():
        with workspace(settings) as opened:
            for (maker, made_with, set_name), documents in made.items():
                for method in suite.methods:
                    if set_name in suite.sets and (maker, made_with) != (model, method):
                        questions = suite.sets[set_name]
                        limit = questions.test_limit
                        base = opened.answers(questions.test, release="none", method=method, limit=limit)
                        indexes = library(opened, documents)
                        found = opened.answers(
                            questions.test, release="cross", method=method, limit=limit, indexes=indexes
                        )
                        cell = {"model": model, "method": method, "set": set_name}
                        point = {"study": "cross", "value": f"{maker} {made_with}", "units": len(set(documents))}
                        points.append(cell | point | against(base, found))
    return points


def _score(rows: Rows) -> dict[str, Any]:
    values = [row["score"] for row in rows]
    origins = [origin for row in rows for origin in row["hit_origins"] or []]
    return {
        "n": len(rows),
        "score": sum(values) / len(values),
        "ci95": list(bootstrap_ci(values)),
        "writeback_share": origins.count("writeback") / len(origins) if origins else 0.0,
        "errors": sum(1 for row in rows if row["error"]),
        **{name: sum(row[name] or 0 for row in rows) / len(rows) for name in COSTS},
    }


COSTS = ("calls", "prompt_tokens", "output_tokens", "retrievals", "seconds")  # means a question


def _compare(arms: dict[str, Rows], other: str) -> dict[str, Any]:
    c = compare([row["score"] for row in arms[other]], [row["score"] for row in arms["writeback"]])
    return {"gain": c.gain, "gain_ci95": list(c.ci95), "p": c.p, "wins": c.wins, "losses": c.losses}


def _corrected(comparisons: Rows) -> Rows:
    """With `p_holm`: corrected over all cells of the grid, for each of the libraries that write-back is compared to."""
    for over in {row["over"] for row in comparisons}:
        family = [row for row in comparisons if row["over"] == over]
        for row, p in zip(family, holm([row["p"] for row in family])):
            row["p_holm"] = p
    return comparisons
