"""Retriever training: labels through the runner, vectors out of the index, and what was learned as a stored part.

The label pass resumes row by row like any enrichment; an adapter then learns in seconds, and the same way every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from wbrag.core.errors import UsageError
from wbrag.core.metrics import Interval, bootstrap_ci
from wbrag.core.progress import bar
from wbrag.enrich.rows import Run, verdict_of
from wbrag.executor.runner import Runner
from wbrag.generators import generator_fingerprint
from wbrag.retrieval.adapter import Adapter
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.external import is_external
from wbrag.retrieval.trained import TrainedRetriever, save_adapter
from wbrag.training.adapter import Curves, Trained, measured, train_adapter
from wbrag.training.lessons import Floats, Labelled, Left, Lessons, enough, labelled, lessons
from wbrag.training.measures import Measured
from wbrag.units.releases import now

ENOUGH_GOLD = 30  # held-out questions whose gold passage is a candidate: with fewer usefulness itself is the measure


class Difference(NamedTuple):
    """The mean difference on the same questions, with its 95% bootstrap interval."""

    gain: float
    ci95: Interval


class Held(NamedTuple):
    """One measure over `n` held-out questions, before and after; the control learned from shuffled labels."""

    name: str
    n: int
    before: float
    after: float
    gain: Difference
    control: Difference


@dataclass(frozen=True)
class TrainResult:
    """What was trained, from what, and how it does on questions that it has not seen."""

    retriever: TrainedRetriever
    examples: str
    run: Run
    left: Left
    questions: Mapping[str, int]  # by part
    epoch: int
    curves: Curves
    held: tuple[Held, ...]


def train_retriever(runner: Runner, examples: str, *, limit: int | None = None) -> TrainResult:
    """Train a query adapter on the usefulness of the candidates of NAME/SPLIT, and store it; nothing is published.

    What enrichment has recorded is taken; other questions get `train.candidates` likelihoods each. Raises `WbragError`
    where too few questions teach anything.
    """
    c = runner.config
    if is_external(c):
        raise UsageError(
            f"expected wbrag's own index, whose vectors are needed, found retriever.kind {c.retriever.kind!r}: "
            "ingest the corpus and set retriever.kind faiss"
        )
    settings = c.train.adapter
    run = labels(runner, examples, limit)
    asked = {example.id: example for example in runner.layout.examples(examples, limit)}
    kept, left = labelled([(asked[row["id"]], verdict_of(row)) for row in run.rows])
    enough(kept, left, examples)
    found = _lessons(runner, kept)
    top_k, seed = c.retrieval.top_k, c.seed
    with bar("training the adapter", shown=runner.progress) as update:
        trained = train_adapter(found, settings, top_k=top_k, seed=seed, update=update)
    with bar("training its control", shown=runner.progress) as update:
        control = train_adapter(shuffled(found, seed), settings, top_k=top_k, seed=seed, update=update)
    held = compared(found, trained, control.adapter, seed)
    questions = {name: len(rows) for name, rows in trained.parts._asdict().items()}
    made = {
        "examples": examples,
        "run": run.folder.name,
        "generator": generator_fingerprint(c),
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "questions": questions,
        "epoch": trained.epoch,
    }
    part = save_adapter(runner.layout.retrievers, trained.adapter, made, {one.name: one._asdict() for one in held})
    retriever = TrainedRetriever(
        encoder_fingerprint(c.encoder),
        c.encoder.model,
        found.queries.shape[1],
        (part,),
        now(),
        better=deciding(held).gain.ci95.low > 0,
    )
    retriever.write(runner.layout.retrievers)
    return TrainResult(retriever, examples, run, left, questions, trained.epoch, trained.curves, held)


def labels(runner: Runner, examples: str, limit: int | None) -> Run:
    """Verdicts with usefulness; no unit is written."""
    c = runner.config
    wanted = {"candidates": c.train.candidates, "candidate_depth": c.train.candidate_depth}
    if c.enrich.candidates:
        wanted = {"candidates": c.enrich.candidates, "candidate_depth": c.enrich.candidate_depth}
    own = {"distiller": "extractive", "round_trip": False}
    return runner.varied(enrich=own | wanted).verdicts(examples, limit=limit)


def _lessons(runner: Runner, kept: Sequence[Labelled]) -> Lessons:
    queries = runner.embed_queries([found.example.question for found in kept])
    wanted = {candidate.id for found in kept for candidate in found.candidates}
    return lessons(kept, queries, runner.base_vectors(wanted))


def shuffled(found: Lessons, seed: int) -> Lessons:
    """The control: every question's likelihoods dealt anew among the candidates that were asked about."""
    rng = np.random.default_rng(seed)
    logprob = found.logprob.copy()
    for row, asked in enumerate(found.asked):
        logprob[row, asked] = rng.permutation(logprob[row, asked])
    return replace(found, logprob=logprob)


def compared(found: Lessons, trained: Trained, control: Adapter, seed: int) -> tuple[Held, ...]:
    """Every measure that some held-out question has, paired by question, beside the control's."""
    rows = trained.parts.held_out
    before, after, by_control = (measured(found, rows, adapter) for adapter in (None, trained.adapter, control))
    held: list[Held] = []
    for name in Measured._fields:
        was, now_, other = (getattr(m, name) for m in (before, after, by_control))
        known = np.isfinite(was)
        if known.any():
            gains = (_gain((values - was)[known], seed) for values in (now_, other))
            held.append(Held(name, int(known.sum()), float(was[known].mean()), float(now_[known].mean()), *gains))
    return tuple(held)


def _gain(differences: Floats, seed: int) -> Difference:
    return Difference(float(differences.mean()), bootstrap_ci(differences.tolist(), seed=seed))


def deciding(held: Sequence[Held]) -> Held:
    """By gold passages where enough held-out questions have one among their candidates, else by usefulness itself."""
    found = {one.name: one for one in held}
    by_gold = found.get("mrr_at_10")
    return by_gold if by_gold and by_gold.n >= ENOUGH_GOLD else found["utility_ndcg_at_5"]
