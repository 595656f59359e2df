"""Ablation studies: thresholds, near-duplicates, K, training size and gate metric, one record per point.

Each point is a library, and its answers to the held-out questions paired with those of the base.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

from wbrag.core.metrics import bootstrap_ci, compare, kappa, paired
from wbrag.core.tasks import task
from wbrag.core.types import PassageText
from wbrag.enrich.rows import Row
from wbrag.enrich.scores import SCORING
from wbrag.evaluation.bench.libraries import corpus_ids, library
from wbrag.evaluation.bench.selections import Chosen, DistilledSet, at_random, distilled, gated, nested, rescored
from wbrag.evaluation.bench.suite import QuestionSet, Studies
from wbrag.executor.runner import Runner


class Study:
    """One model, method and set with every score recorded; each point is a library and its held-out answers."""

    def __init__(self, runner: Runner, method: str, questions: QuestionSet, base: list[Row]) -> None:
        self.runner, self.method, self.questions, self.base = runner, method, questions, base
        self.gate = runner.config.enrich
        scoring = runner.varied(enrich={"record": "all"})
        self.verdicts = scoring.verdicts(
            questions.train, method=method, limit=questions.train_limit, witnessed=False
        ).rows
        self.examples = {e.id: e for e in runner.layout.examples(questions.train, questions.train_limit)}

    def run(self, studies: Studies) -> Iterator[dict[str, Any]]:
        """A record per point of every study asked for."""
        for knob, values in studies.sweeps.items():
            for value in values:
                yield self.point(knob, value, gated(self.verdicts, self.gate.model_copy(update={knob: value})))
        for cosine in studies.near_duplicates:
            yield self.point("near_duplicates", cosine, gated(self.distinct(cosine), self.gate))
        for top_k in studies.top_k:
            yield self.other_k(top_k)
        if studies.empty_prompt:
            yield self.point("closed_book", "task's prompt", gated(self.verdicts, self.gate))
            yield self.point("closed_book", "empty documents", gated(self.empty_prompt(), self.gate))
        for share in studies.training_size:
            yield self.point("training_size", share, gated(nested(self.verdicts, share, 0), self.gate))
        for metric in studies.gate_metric:
            if metric in SCORING:
                yield self.asked(metric)
            else:
                rows = rescored(self.verdicts, self.examples, metric)
                yield self.point("gate_metric", metric, gated(rows, self.gate))

    def asked(self, metric: str) -> dict[str, Any]:
        """The gates decided by scores that the model is asked for, and how far they agree with the labels."""
        asking = self.runner.varied(enrich={"gate_metric": metric, "record": "all"})
        verdicts = asking.verdicts(
            self.questions.train, method=self.method, limit=self.questions.train_limit, witnessed=False
        ).rows
        labels, chosen = gated(self.verdicts, self.gate), gated(verdicts, self.gate)
        failed = {row["id"] for row in [*verdicts, *self.verdicts] if row["error"]}
        both = [(row["id"] in labels, row["id"] in chosen) for row in verdicts if row["id"] not in failed]
        agreement = sum(a == b for a, b in both) / max(1, len(both))
        other = copy(self)
        other.verdicts = verdicts
        point = other.point("gate_metric", metric, chosen)
        return point | {"agreement": agreement, "kappa": kappa([a for a, _ in both], [b for _, b in both])}

    def distinct(self, cosine: float) -> list[Row]:
        """The verdicts of training questions that no held-out question is nearer to than `cosine`."""
        test = self.runner.layout.examples(self.questions.test, self.questions.test_limit)
        questions = [self.examples[row["id"]].question for row in self.verdicts]
        vectors = self.runner.embed_queries([*questions, *(e.question for e in test)])
        nearest = (vectors[: len(questions)] @ vectors[len(questions) :].T).max(axis=1)
        return [row for row, near in zip(self.verdicts, nearest) if near < cosine]

    def empty_prompt(self) -> list[Row]:
        """The verdicts with closed-book scores from the prompt with documents, over none."""
        q = self.questions
        rows = self.runner.answers(q.train, release="closed-book", method="empty_prompt", limit=q.train_limit)
        metric = self.gate.gate_metric
        score = {
            row["id"]: task(e.task).score(row["prediction"], e.golden_answers, metric)
            for row, e in zip(rows, self.examples.values())
            if not row["error"]
        }
        return [row | {"s_nr": score[row["id"]]} for row in self.verdicts if not row["error"] and row["id"] in score]

    def other_k(self, top_k: int) -> dict[str, Any]:
        """Gates, base and write-back with another K; these are calls of their own."""
        varied = self.runner.varied(enrich={"top_k": top_k}, retrieval={"top_k": top_k})
        q = self.questions
        base = varied.answers(q.test, release="none", method=self.method, limit=q.test_limit)
        other = copy(self)
        other.runner, other.base = varied, base
        other.verdicts = varied.verdicts(q.train, method=self.method, limit=q.train_limit, witnessed=False).rows
        return other.point("top_k", top_k, gated(other.verdicts, self.gate))

    def controls(self, names: Sequence[str]) -> dict[str, list[PassageText]]:
        """The libraries of controls that need a distillation of their own."""
        found = {}
        for name in names:
            chosen = self._control(name)
            if chosen is not None:
                found[f"control_{name}"] = self.distilled(chosen).units
        return found

    def _control(self, name: str) -> Chosen | None:
        match name:
            case "random":
                ids = corpus_ids(self.runner.layout.path / "index", self.runner.layout.base()[0])
                seed = f"{self.runner.config.seed} {self.questions.train} {self.method}"
                return at_random(gated(self.verdicts, self.gate), ids, seed)
            case "no_utility_gate":
                return gated(self.verdicts, self.gate, utility=False)
            case "no_document_gate":
                return gated(self.verdicts, self.gate, document=False)
        return None

    def distilled(self, chosen: Chosen) -> DistilledSet:
        return distilled(self.runner, self.verdicts, self.examples, chosen)

    def point(self, study: str, value: object, chosen: Chosen) -> dict[str, Any]:
        """How the library of `chosen` answers, against the base."""
        documents, made, failed = self.distilled(chosen)
        rows = self.runner.answers(
            self.questions.test,
            release=f"{study} {value}",
            method=self.method,
            limit=self.questions.test_limit,
            indexes=library(self.runner, documents),
        )
        found = {"study": study, "value": value, "units": len(set(documents)), "distilled": made, "failed": failed}
        return found | against(self.base, rows)


def against(base: Sequence[Row], rows: Sequence[Row]) -> dict[str, Any]:
    """Score and paired gain of `rows` over `base`."""
    before, scores = paired(base, rows)
    c = compare(before, scores)
    return {
        "n": len(scores),
        "score": sum(scores) / max(1, len(scores)),
        "ci95": list(bootstrap_ci(scores)),
        "gain": c.gain,
        "gain_ci95": list(c.ci95),
        "p": c.p,
    }
