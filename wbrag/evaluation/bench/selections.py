"""Example selection: which documents of which question are distilled, decided from stored scores.

No gate call is ever repeated: verdicts recorded with `enrich.record: all` hold every score, so that any threshold, any
other metric and the runs without a gate only read the same rows. Only evidence sets not distilled yet cost calls.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from wbrag.core.fingerprint import fingerprint
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task
from wbrag.core.types import Example, PassageText
from wbrag.enrich.gates import document_gate, utility_gate
from wbrag.enrich.leakage_audit import leaks
from wbrag.enrich.rows import Row
from wbrag.evaluation.bench.libraries import passages_of, unit_document
from wbrag.executor.runner import Runner

Chosen = dict[str, tuple[str, ...]]  # question id -> passage ids, best first


def gated(rows: Sequence[Row], gate: EnrichConfig, *, utility: bool = True, document: bool = True) -> Chosen:
    """Algorithm 1's choice at the thresholds of `gate`; without the utility gate every question with hits is in."""
    chosen: Chosen = {}
    for row in rows:
        if row["error"] or not row["hit_ids"]:
            continue
        if utility and not utility_gate(row["s_nr"], row["s_rag"], tau_s=gate.tau_s, tau_delta=gate.tau_delta):
            continue
        ranks = range(len(row["hit_ids"]))
        if document:
            ranks = document_gate(row["s_nr"], row["s_doc"], tau_doc=gate.tau_doc, n_min=gate.n_min).ranks  # type: ignore[assignment]
        chosen[row["id"]] = tuple(row["hit_ids"][rank] for rank in ranks)
    return chosen


def rescored(rows: Sequence[Row], examples: Mapping[str, Example], metric: str) -> list[Row]:
    """The same answers under another gate metric."""

    def scored(row: Row) -> Row:
        e = examples[row["id"]]

        def score(text: str | None) -> float:
            return task(e.task).score(text or "", e.golden_answers, metric)

        s_doc = [score(text) for text in row["solo"] or []]
        return {**row, "s_nr": score(row["closed_book"]), "s_rag": score(row["open_book"]), "s_doc": s_doc}

    return [scored(row) for row in rows if not row["error"]]


def at_random(chosen: Chosen, ids: Sequence[str], seed: str) -> Chosen:
    """As many documents for each question, drawn from the whole corpus."""
    rng = random.Random(seed)
    return {question: tuple(rng.sample(ids, len(kept))) for question, kept in sorted(chosen.items())}


def nested(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """A random `share` of the examples; a smaller share is part of every larger one."""
    order = sorted(rows, key=lambda row: fingerprint(seed, row["id"]))
    return order[: max(1, round(share * len(order)))]


class DistilledSet(NamedTuple):
    """Units that may be published, how many were distilled for this, and how many distillations failed."""

    units: list[PassageText]
    made: int
    failed: int


def distilled(runner: Runner, verdicts: Sequence[Row], examples: Mapping[str, Example], chosen: Chosen) -> DistilledSet:
    """The units of `chosen`; what a verdict or an earlier study holds is reused. Leaking units are left out."""
    known = {(row["id"], tuple(s["id"] for s in row["sources"])): row for row in verdicts if row["accepted"]}
    missing = {q: ids for q, ids in chosen.items() if (q, ids) not in known}
    wanted = {id for ids in missing.values() for id in ids}
    passages = passages_of(runner.layout.path / "index", runner.layout.base()[0], wanted)
    work = [_work(examples[q], [passages[id] for id in ids]) for q, ids in missing.items()]
    rows, before, _ = runner.distil(work) if work else ([], 0, None)
    found = [*(known[q, ids] for q, ids in chosen.items() if (q, ids) in known), *rows]
    failed = sum(1 for row in rows if row["error"])
    units = [unit_document(row) for row in found if not row["error"] and not leaks(row)]
    return DistilledSet(units, len(work) - before, failed)


def _work(example: Example, documents: Sequence[PassageText]) -> Example:
    """A row of `DistilJob`, named by everything that decides its unit."""
    asked = (example.question, example.golden_answers, example.task)
    name = f"{example.id}@{fingerprint(*asked, [list(d) for d in documents])}"
    return replace(example, id=name, metadata={"documents": [list(d) for d in documents]})
