"""What a retriever is taught with: labels through the runner, vectors out of the index, texts out of the corpus.

The label pass resumes row by row, as any enrichment does, and asks nothing that enrichment has asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wbrag.core.errors import UsageError
from wbrag.enrich.rows import Run, verdict_of
from wbrag.executor.learners import Kind
from wbrag.executor.runner import Runner
from wbrag.generators import generator_fingerprint
from wbrag.retrieval.external import is_external
from wbrag.training.course import Texts, need_packages
from wbrag.training.encoder import FEWEST
from wbrag.training.lessons import Labelled, Left, Lessons, enough, labelled, lessons


@dataclass(frozen=True)
class Taught:
    """Lessons of NAME/SPLIT with their texts, the rows that gave none, and what names them in a part's manifest."""

    run: Run
    left: Left
    lessons: Lessons
    texts: Texts
    made: dict[str, Any]


def teach(runner: Runner, examples: str, kind: Kind, limit: int | None) -> Taught:
    """Raises `UsageError` before any work where this kind cannot be trained, `WbragError` where too little teaches."""
    c = runner.config
    if is_external(c):
        raise UsageError(
            f"expected wbrag's own index, whose vectors are needed, found retriever.kind {c.retriever.kind!r}: "
            "ingest the corpus and set retriever.kind faiss"
        )
    if kind != "adapter":
        need_packages()
    if kind == "encoder" and (c.enrich.candidates or c.train.candidates) < FEWEST:
        raise UsageError(
            f"expected at least {FEWEST} candidates a question for an encoder, found "
            f"{c.enrich.candidates or c.train.candidates}: raise train.candidates"
        )
    run = labels(runner, examples, limit)
    asked = {example.id: example for example in runner.layout.examples(examples, limit)}
    kept, left = labelled([(asked[row["id"]], verdict_of(row)) for row in run.rows])
    enough(kept, left, examples)
    found = _lessons(runner, kept)
    passages = {} if kind == "adapter" else runner.layout.passages(found.passage_ids)
    contents = [passages[id].contents for id in found.passage_ids] if passages else []  # an adapter reads none
    texts = Texts([asked[id].question for id in found.ids], contents)
    made = {
        "examples": examples,
        "run": run.folder.name,
        "generator": generator_fingerprint(c),
        "settings": getattr(c.train, kind).model_dump(mode="json"),
        "seed": c.seed,
    }
    return Taught(run, left, found, texts, made)


def labels(runner: Runner, examples: str, limit: int | None) -> Run:
    """Verdicts with usefulness; no unit is written."""
    c = runner.config
    wanted = {"candidates": c.train.candidates, "candidate_depth": c.train.candidate_depth}
    if c.enrich.candidates:
        wanted = {"candidates": c.enrich.candidates, "candidate_depth": c.enrich.candidate_depth}
    return runner.varied(enrich=wanted).verdicts(examples, limit=limit, distils=False)


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


def gold_only(found: Lessons) -> Lessons:
    """Another control: what gold passages alone teach, with no language model."""
    logprob = np.where(found.asked, np.where(found.gold, -1.0, -2.0), np.nan).astype(np.float32)
    return replace(found, logprob=logprob)
