"""Retriever training: labels through the runner, vectors out of the index, and what was learned as a stored part.

The label pass resumes row by row like any enrichment, a transformer's training from its last checkpoint; an adapter
learns in seconds, and the same way every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wbrag.core.io.files import Location
from wbrag.core.metrics import Interval, bootstrap_ci
from wbrag.enrich.rows import Run
from wbrag.executor.learners import Kind, Learner, Ranking
from wbrag.executor.runner import Runner
from wbrag.executor.taught import shuffled, teach
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.trained import TrainedRetriever, open_adapter, trained
from wbrag.training.adapter import Curves, scores
from wbrag.training.lessons import Floats, Left, Lessons, split
from wbrag.training.measures import Measured, measure
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
    control: Difference | None = None


@dataclass(frozen=True)
class TrainResult:
    """What was trained, from what, and how it does on questions that it has not seen."""

    kind: Kind
    retriever: TrainedRetriever
    examples: str
    run: Run
    left: Left
    questions: Mapping[str, int]  # by part
    epoch: float
    curves: Curves
    held: tuple[Held, ...]
    folder: Location  # of the part


def train_retriever(runner: Runner, examples: str, *, kind: Kind = "adapter", limit: int | None = None) -> TrainResult:
    """Train on the usefulness of the candidates of NAME/SPLIT, and store what was learned; nothing is published.

    What enrichment has recorded is taken; other questions get `train.candidates` likelihoods each. A reranker is
    trained over the newest adapter that did better, and released with it. Raises `WbragError` where too few questions
    teach anything.
    """
    c = runner.config
    taught = teach(runner, examples, kind, limit)
    found = taught.lessons
    over = _over(runner) if kind == "reranker" else None
    adapter = open_adapter(runner.layout.retrievers, over) if over else None
    learn = Learner(runner, kind, taught.texts, adapter)
    learned = learn(found, f"training the {kind}")
    control = learn(shuffled(found, c.seed), "training its control") if c.train.control else None
    parts = split(found.ids, c.seed)
    before = scores(found.part(parts.held_out), adapter)
    held = compared(found.part(parts.held_out), before, learned, control, c.seed)
    questions = {name: len(rows) for name, rows in parts._asdict().items()}
    made = taught.made | {"questions": questions, "epoch": learned.epoch}
    part = learned.keep(made, {one.name: one._asdict() for one in held})
    retriever = TrainedRetriever(
        encoder_fingerprint(c.encoder),
        c.encoder.model,
        found.queries.shape[1],
        (*(over.parts if over else ()), part),
        now(),
        parents=(over.name,) if over else (),
        better=kind != "encoder" and deciding(held).gain.ci95.low > 0,
    )
    retriever.write(runner.layout.retrievers)
    for ranking in (learned, control):
        if ranking:
            ranking.forget()
    folder = runner.layout.retrievers / part.folder
    return TrainResult(
        kind, retriever, examples, taught.run, taught.left, questions, learned.epoch, learned.curves, held, folder
    )


def _over(runner: Runner) -> TrainedRetriever | None:
    """The newest that is an adapter alone, and did better."""
    known = trained(runner.layout.retrievers, encoder_fingerprint(runner.config.encoder))
    alone = [one for one in known if one.better and [part.kind for part in one.parts] == ["adapter"]]
    return alone[-1] if alone else None


def compared(found: Lessons, before: Floats, learned: Ranking, control: Ranking | None, seed: int) -> tuple[Held, ...]:
    """Every measure that some question of `found` has, paired by question, beside the control's."""
    was = measure(found, before)
    after = measure(found, learned.scores)
    other = measure(found, control.scores) if control else None
    held: list[Held] = []
    for name in Measured._fields:
        base, now_ = getattr(was, name), getattr(after, name)
        if (known := np.isfinite(base)).any():
            by_control = _gain((getattr(other, name) - base)[known], seed) if other else None
            gain = _gain((now_ - base)[known], seed)
            held.append(
                Held(name, int(known.sum()), float(base[known].mean()), float(now_[known].mean()), gain, by_control)
            )
    return tuple(held)


def _gain(differences: Floats, seed: int) -> Difference:
    return Difference(float(differences.mean()), bootstrap_ci(differences.tolist(), seed=seed))


def deciding(held: Sequence[Held]) -> Held:
    """By gold passages where enough held-out questions have one among their candidates, else by usefulness itself."""
    found = {one.name: one for one in held}
    by_gold = found.get("mrr_at_10")
    return by_gold if by_gold and by_gold.n >= ENOUGH_GOLD else found["utility_ndcg_at_5"]
