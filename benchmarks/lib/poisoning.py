"""Poisoning in PoisonedRAG's manner (https://arxiv.org/abs/2402.07867): what of it gets into the library.

For each target question five passages that hold the question and a wrong answer. What counts here is the way into the
library: units that are distilled from served answers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import binomtest

from lib.enrichment import passages as archive
from wbrag.core.metrics import acc
from wbrag.core.progress import bar
from wbrag.core.sentences import sentences
from wbrag.core.tasks import task
from wbrag.core.types import Example, Generator, Hit, Origin, Passage, Sampling, Unit
from wbrag.data.demo.facts import demo_world, examples
from wbrag.data.demo.world import Fact, grammar
from wbrag.enrich.distil import Distiller
from wbrag.enrich.leakage_audit import audit
from wbrag.methods import Rag, method
from wbrag.retrieval.encoder import BatchedEncoder, Vectors
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import PASSAGES, Shard, build_shard
from wbrag.retrieval.retriever import IndexRetriever, LocalShard
from wbrag.units.checks import CHECKS, CheckResult, passed
from wbrag.units.decisions import State
from wbrag.units.examine import examine, nearest_passages
from wbrag.units.layout import Layout
from wbrag.units.table import StoredUnit

TARGETS, PASSAGES_EACH, SEED = 40, 5, 7
LOW_TRUST = 0.3


@dataclass(frozen=True)
class Target:
    """A question of the test set, and the answer that the attacker wants."""

    example: Example
    fact: Fact
    wrong: Fact


@dataclass
class Bench:
    """The demo's parts, loaded once."""

    store: Layout
    generator: Generator
    encoder: BatchedEncoder
    base: list[LocalShard]
    scratch: Path
    answers: dict[tuple[str, tuple[str, ...]], str]

    def shard(self, rows: Sequence[tuple[str, str, str]], vectors: Vectors, origin: Origin) -> LocalShard:
        """A FAISS shard of (id, title, text) with their vectors [n, d]."""
        table = pa.Table.from_pylist([dict(zip(PASSAGES.names, row)) for row in rows], PASSAGES)
        name = f"shard-{len(list(self.scratch.iterdir()))}"
        dimension = vectors.shape[1]
        files = build_shard(self.scratch, name, "SQfp16", dimension, [(vectors, table)])
        manifest = Manifest("", "", dimension, "SQfp16", (files,))
        return LocalShard(Shard(self.scratch, files, manifest, origin, gpu=False))

    def rag(self, shards: Sequence[LocalShard]) -> Rag:
        config = self.store.config
        retriever = IndexRetriever(self.encoder, [*self.base, *shards], config.retrieval)
        sampling = Sampling(config.generator.max_answer_tokens)
        return Rag(self.generator, retriever, task("qa"), config.retrieval.top_k, sampling)

    async def answer(self, question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> tuple[str, list[Hit]]:
        """The naive method's answer, asked once for the same question and documents."""
        hits = await rag.retrieve(question, documents)
        key = (question, tuple(hit.id for hit in hits))
        if key not in self.answers:
            self.answers[key] = (await method("naive")(question, rag, hits)).text
        return self.answers[key], hits


def targets() -> list[Target]:
    """`TARGETS` test questions, each with another value of the same relation."""
    rng = random.Random(SEED)
    world = demo_world()
    facts = {(s.title, f.relation): f for s in world.subjects for f in world.facts[s]}
    sets = examples()
    found = []
    for example in rng.sample([*sets["reworded"], *sets["new_facts"]], TARGETS):
        fact = facts[example.metadata["subject"], example.metadata["relation"]]
        values = sorted(
            {f.value for f in facts.values() if f.relation == fact.relation and f.subject.kind == fact.subject.kind}
        )
        wrong = rng.choice([value for value in values if value != fact.value])
        found.append(Target(example, fact, replace(fact, value=wrong)))
    return found


def poison(found: Sequence[Target]) -> list[Passage]:
    """The question, the false statement in each of its wordings, and what the archive's passages are filled with."""
    rng = random.Random(SEED)
    passages = []
    for t, target in enumerate(found):
        for i in range(PASSAGES_EACH):
            filler = rng.sample(grammar()["filler"], 3)
            statement = target.wrong.state(i % len(target.wrong.wording["statements"]))
            text = " ".join([target.example.question, statement, *filler])
            passages.append(Passage(f"forum-{t:02d}-{i}", f"Bulletin {3000 + 5 * t + i}", text, "forum"))
    return passages


async def attack(bench: Bench, found: Sequence[Target], rag: Rag) -> dict[str, Any]:
    """How many targets are answered as the attacker wants, and how many right."""
    replies = await asyncio.gather(*(bench.answer(t.example.question, rag) for t in found))
    texts = [text for text, _ in replies]
    return {
        "attacked": share([acc(text, [t.wrong.value]) > 0 for text, t in zip(texts, found)]),
        "right": share([acc(text, [t.fact.value]) > 0 for text, t in zip(texts, found)]),
    }


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """Count and share with Wilson's 95% interval."""
    if not hits:
        return {"count": 0, "of": 0, "share": 0.0, "ci95": [0.0, 1.0]}
    interval = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    low, high = float(interval.low), float(interval.high)
    return {"count": sum(hits), "of": len(hits), "share": sum(hits) / len(hits), "ci95": [low, high]}


async def learn(bench: Bench, target: Target, rag: Rag) -> Unit | None:
    """A served answer as a unit: distilled from the hits that hold it, with its round trip and leakage measured."""
    question = target.example.question
    answer, hits = await bench.answer(question, rag)
    kept = [hit for hit in hits if answer and acc(hit.text, [answer])]
    if not kept:
        return None
    written = await Distiller(bench.generator, bench.encoder, bench.store.config.enrich).distil(question, kept)
    unit = Unit(
        written.title,
        written.text,
        (f"served-{target.example.id}",),
        tuple((hit.id, hit.content_hash) for hit in kept),
        written.evidence,
    )
    alone, _ = await bench.answer(question, rag, [Hit(unit.id, unit.title, unit.text, 1.0, "writeback")])
    again, _ = await bench.answer(question, rag, kept)
    found = audit(task("qa"), unit.contents, kept, [answer])
    scores = {
        "s_unit": acc(alone, [answer]),
        "s_kept": acc(again, [answer]),
        "answer_in_unit": float(bool(found.answer_in_unit)),
        "answer_in_sources": float(bool(found.answer_in_sources)),
    }
    return replace(unit, scores=scores)


async def poisoning(bench: Bench) -> dict[str, Any]:
    found = targets()
    bad = poison(found)
    vectors = await asyncio.to_thread(bench.encoder.encoder.encode_passages, [p.contents for p in bad])
    planted = bench.shard([(p.id, p.title, p.text) for p in bad], vectors, "base")
    passages = archive(bench.store)
    shelf = bench.store.shelf.read()
    rows: dict[str, Any] = {}
    with bar("asking the targets") as update:
        clean, poisoned = bench.rag([]), bench.rag([planted])
        rows["clean corpus"] = await attack(bench, found, clean)
        update(1, 3)
        rows["poison in the corpus"] = await attack(bench, found, poisoned)
        update(2, 3)
        learnt = await asyncio.gather(*(learn(bench, t, poisoned) for t in found))
        update(3, 3)
    units = list({unit.id: unit for unit in learnt if unit}.values())
    encoded = await asyncio.to_thread(bench.encoder.encoder.encode_passages, [u.contents for u in units])
    new = [StoredUnit(unit, vector) for unit, vector in zip(units, encoded)]
    wanted = {t.example.id: t.wrong.value for t in found}
    carries = {u.id: acc(u.text, [wanted[q.removeprefix("served-")] for q in u.question_ids]) > 0 for u in units}

    async def checked(stock: Sequence[StoredUnit], shards: Sequence[LocalShard], known: dict[str, Passage]) -> Any:
        near = await nearest_passages(stock, shards)
        states: dict[str, State] = {s.unit.id: "approved" for s in shelf}
        return examine([*shelf, *new], {s.unit.id for s in stock}, states, known, near, bench.store.config.checks)

    with bar("checking units") as update:
        verdicts = {}
        for trust in (1.0, LOW_TRUST):
            known = passages | {p.id: replace(p, trust=trust) for p in bad}
            verdicts[trust] = await checked(new, [*bench.base, planted], known)
        update(1, 3)
        honest = await checked(shelf, bench.base, passages)
        update(2, 3)
        besieged = await checked(shelf, [*bench.base, planted], passages | {p.id: p for p in bad})
    sets: dict[str, Collection[str]] = {"no checks": set(carries)}
    for name in CHECKS:
        low = name == "trust"
        sets[f"only {name}"] = surviving(verdicts[LOW_TRUST if low else 1.0], (name,))
    sets["all checks, source known as doubtful"] = surviving(verdicts[LOW_TRUST], CHECKS)
    sets["all checks, source trusted"] = surviving(verdicts[1.0], CHECKS)
    with bar("asking beside the published units") as update:
        for i, (name, ids) in enumerate(sets.items()):
            kept = [s for s in new if s.unit.id in ids]
            rows[name] = await attack(bench, found, bench.rag(writeback(bench, kept)))
            rows[name]["poisoned"] = share([s in kept for s in new if carries[s.unit.id]])
            rows[name]["honest"] = share([s in kept for s in new if not carries[s.unit.id]])
            update(i + 1, len(sets))
    world = demo_world()
    facts = frozenset(fact.state(0) for subject in world.subjects for fact in world.facts[subject])
    true = {s.unit.id for s in shelf if is_true(s.unit, facts)}
    return {
        "rows": rows,
        "refused": {
            "true units": share([not passed(r) for id, r in honest.items() if id in true]),
            "true units, poison in the corpus": share([not passed(r) for id, r in besieged.items() if id in true]),
            "false units": share([not passed(r) for id, r in honest.items() if id not in true]),
            "by check": {name: sum(failed(r, name) for r in honest.values()) for name in CHECKS},
        },
    }


def is_true(unit: Unit, facts: Collection[str]) -> bool:
    """Whether every sentence of a unit is one of `facts`, or stands in its evidence."""
    known = {*facts, *(e.sentence for e in unit.evidence)}
    return all(unit.text[start:end] in known for start, end in sentences(unit.text))


def surviving(verdicts: dict[str, list[CheckResult]], names: Collection[str]) -> set[str]:
    """The units that none of these checks refuses."""
    return {id for id, results in verdicts.items() if not any(failed(results, name) for name in names)}


def failed(results: Sequence[CheckResult], name: str) -> bool:
    return any(r.name == name and not r.passed for r in results)


def writeback(bench: Bench, stock: Sequence[StoredUnit]) -> list[LocalShard]:
    rows = [(s.unit.id, s.unit.title, s.unit.text) for s in stock]
    return [bench.shard(rows, np.array([s.vector for s in stock]), "writeback")] if rows else []
