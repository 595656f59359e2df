"""Benchmark grid: each cell is one model, method and set, with each library answering the same held-out questions.

A cell's rows stand in the workspace's own verdict and answer folders, named by what decides them, so that a killed
bench goes on at the row it was in and a second one repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wbrag.core.errors import UsageError
from wbrag.core.tasks import task
from wbrag.core.types import PassageText
from wbrag.enrich.rows import Row
from wbrag.enrich.summary import summarise
from wbrag.evaluation.bench.comparisons import by_question, by_stratum, compared, scored
from wbrag.evaluation.bench.figures import Bench
from wbrag.evaluation.bench.libraries import (
    copies,
    displaced,
    library,
    passages_of,
    question_rows,
    raw,
    retained_passages,
    units,
)
from wbrag.evaluation.bench.studies import Study, against
from wbrag.evaluation.bench.suite import QuestionSet, Suite
from wbrag.evaluation.strata import strata
from wbrag.executor.runner import Runner
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.reranker import RerankerModel
from wbrag.retrieval.trained import named, reranker_of
from wbrag.units.layout import Index

SHOWN = 8  # changed questions of each kind in a cell
Sections = dict[str, dict[str, Any]]  # settings by their section
Opener = Callable[[Sections], Runner]  # settings -> a runner that uses them, open until the next is asked for


@dataclass(frozen=True)
class Cell:
    """One model, method and set: each library's answers, how the units came to be, the units, the studies' points."""

    arms: dict[str, list[Row]]
    built: dict[str, Any]
    units: list[PassageText]
    points: list[Row]
    changed: list[Row]


def run_grid(suite: Suite, opener: Opener, made: dict[str, Any]) -> Iterator[Bench]:
    """What `suite` came to so far, after every cell; `opener(settings)` runs over the prepared workspace with a model's
    generator settings, and `made` says what it takes to repeat it."""
    bench = Bench(suite.name, [], [], [], [], [], made)
    units_of: dict[tuple[str, str, str], list[PassageText]] = {}
    strata_of: dict[str, dict[str, str]] = {}
    for model, settings in suite.settings.items():
        opened = opener(settings)
        for set_name, questions in suite.sets.items():
            closed = opened.answers(questions.test, release="closed-book", limit=questions.test_limit)
            metric = task(opened.layout.examples(questions.test, 1)[0].task).metric
            for method in suite.methods_of(set_name):
                name = {"model": model, "method": method, "set": set_name}
                cell = run_cell(opened, suite, method, questions)
                arms = {"closed_book": closed, **cell.arms}
                bench.scores.extend(name | {"arm": arm, "metric": metric} | scored(arms[arm]) for arm in arms)
                over = [arm for arm in arms if arm != "writeback"]
                bench.comparisons.extend(name | {"over": arm} | compared(arms, arm) for arm in over)
                if set_name not in strata_of:
                    strata_of[set_name] = shared(opened, questions)
                bench.strata.extend(name | row for row in by_stratum(strata_of[set_name], arms))
                bench.questions.extend(name | row for row in by_question(strata_of[set_name], arms))
                bench.construction.append(name | cell.built)
                bench.points.extend(name | point for point in cell.points)
                bench.changed.extend(name | row for row in cell.changed)
                units_of[model, method, set_name] = cell.units
                yield bench
        if suite.retrievers:
            from wbrag.evaluation.bench import retrievers  # torch, which tables and pages do without

            made_by = {name: units_of[model, suite.methods_of(name)[0], name] for name in suite.sets}
            for rows in retrievers.run(opened, suite.retrievers, suite.sets, made_by):
                bench.rankings.extend({"model": model} | row for row in rows)
                yield bench
    if suite.studies.cross:
        bench.points.extend(cross(suite, opener, units_of))
        yield bench


def run_cell(runner: Runner, suite: Suite, method: str, questions: QuestionSet) -> Cell:
    """Base answers, units, and every library's answers to the same questions."""

    def answers(name: str, indexes: list[Index], **options: Any) -> list[Row]:
        limit = questions.test_limit
        return runner.answers(questions.test, release=name, method=method, limit=limit, indexes=indexes, **options)

    arms = {"base": answers("base", runner.layout.indexes("none"))}
    study = Study(runner, method, questions, arms["base"]) if suite.needs_all_scores else None
    limit = questions.train_limit
    verdicts = (
        study.verdicts if study else runner.verdicts(questions.train, method=method, limit=limit, witnessed=False).rows
    )
    documents, sources = {"writeback": units(verdicts)}, displaced(verdicts)
    if suite.controls:
        passages = retained_passages(runner.layout.path / "index", runner.layout.base()[0], verdicts)
        kinds = {"raw": raw, "copies": copies}
        documents |= {f"control_{kind}": kinds[kind](verdicts, passages) for kind in suite.controls if kind in kinds}
        documents |= study.controls(suite.controls) if study else {}
    for name, found in documents.items():
        arms[name] = answers(name, library(runner, found), sources=sources)
    if "rows" in suite.controls:
        told = question_rows(runner.layout.examples(questions.train, limit))
        reranker = rows_reranker(runner, suite.rows_reranker)
        arms["control_rows"] = answers("control_rows", library(runner, told), reranker=reranker)
    points = list(study.run(suite.studies)) if study else []
    changed = changed_answers(runner, arms["base"], arms["writeback"], documents["writeback"])
    return Cell(arms, construction(verdicts, runner.config.enrich.top_k), documents["writeback"], points, changed)


def rows_reranker(runner: Runner, name: str) -> RerankerModel | None:
    """Of the trained retriever called `name`; None where the suite names none."""
    if not name:
        return None
    c, root = runner.config, runner.layout.retrievers
    found = reranker_of(root, named(root, encoder_fingerprint(c.encoder), c.encoder.model, name), c.rerank)
    if found is None:
        raise UsageError(f"expected a retriever with a reranker in rows_reranker, found {name!r} without: name another")
    return found


def construction(verdicts: Sequence[Row], top_k: int) -> dict[str, Any]:
    """How a run's units came to be; `words` are those of the sources and of the unit, a pair an accepted example."""
    words = [[row["source_words"], row["unit_words"]] for row in verdicts if row["accepted"]]
    return summarise(verdicts, top_k) | {"units": len(set(units(verdicts))), "words": words}


def changed_answers(runner: Runner, base: list[Row], writeback: list[Row], documents: list[PassageText]) -> list[Row]:
    """Questions that write-back made right, or wrong, with what was read before and after; the first few of each."""
    answered = [(b, w) for b, w in zip(base, writeback) if not b["error"] and not w["error"]]
    differing = [(b, w) for b, w in answered if (b["score"] >= 0.5) != (w["score"] >= 0.5)]
    better = [pair for pair in differing if pair[1]["score"] >= 0.5]
    worse = [pair for pair in differing if pair[1]["score"] < 0.5]
    shown = better[:SHOWN] + worse[:SHOWN]
    ids = {id for pair in shown for row in pair for id in row["hit_ids"] or []}
    texts = passages_of(runner.layout.path / "index", runner.layout.base()[0], ids) | {d.id: d for d in documents}

    def context(row: Row) -> list[Row]:
        hits = zip(row["hit_ids"] or [], row["hit_scores"] or [], row["hit_origins"] or [])
        return [
            {"origin": origin, "title": texts[id].title, "text": texts[id].text, "score": score}
            for id, score, origin in hits
        ]

    return [
        {
            "id": b["id"],
            "question": b["question"],
            "golden": list(b["golden_answers"]),
            "better": w["score"] >= 0.5,
            "base_answer": b["prediction"],
            "writeback_answer": w["prediction"],
            "base_context": context(b),
            "writeback_context": context(w),
        }
        for b, w in shown
    ]


def cross(suite: Suite, opener: Opener, made: dict[tuple[str, str, str], list[PassageText]]) -> list[Row]:
    """Units made with one method or model, used by another (paper, Fig. 4): `value` names where they came from."""
    points: list[Row] = []
    for model, settings in suite.settings.items():
        opened = opener(settings)
        for (maker, made_with, set_name), documents in made.items():
            for method in suite.methods_of(set_name):
                if (maker, made_with) != (model, method):
                    questions = suite.sets[set_name]
                    limit = questions.test_limit
                    base = opened.answers(questions.test, release="none", method=method, limit=limit)
                    indexes = library(opened, documents)
                    found = opened.answers(questions.test, release="cross", method=method, limit=limit, indexes=indexes)
                    cell = {"model": model, "method": method, "set": set_name}
                    point = {"study": "cross", "value": f"{maker} {made_with}", "units": len(set(documents))}
                    points.append(cell | point | against(base, found))
    return points


def shared(runner: Runner, questions: QuestionSet) -> dict[str, str]:
    """The stratum of every held-out question, by its id."""
    tests = runner.layout.examples(questions.test, questions.test_limit)
    return strata(runner.layout, tests, runner.layout.examples(questions.train, questions.train_limit))
