"""Poisoning: what of an attack (`attacks.py`) gets into the library, by units that are distilled from served answers.

Every unit is told to witnesses while the poison lies in the corpus, the demo's honest units too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import binomtest

from lib.attacks import ATTACKS, SEEDS, Attack, Target, poison, targets
from lib.enrichment import passages as archive
from wbrag.core.metrics import acc
from wbrag.core.progress import bar
from wbrag.core.sentences import sentences
from wbrag.core.tasks import task
from wbrag.core.types import Generator, Hit, Origin, Passage, Sampling, Unit
from wbrag.data.demo.facts import demo_world
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import WrittenUnit
from wbrag.enrich.leakage_audit import audit
from wbrag.enrich.witnesses import witnesses
from wbrag.methods import Rag, method
from wbrag.retrieval.encoder import BatchedEncoder, Vectors
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import PASSAGES, SOURCE, Shard, build_shard
from wbrag.retrieval.retriever import IndexRetriever, LocalShard
from wbrag.units.checks import CHECKS, CheckResult, passed, worth_witnesses
from wbrag.units.decisions import State
from wbrag.units.examine import examine, nearest_passages
from wbrag.units.layout import Layout
from wbrag.units.stored import FROM_TRAFFIC, StoredUnit

LOW_TRUST = 0.3
HONEST_AT_ONCE = 8


@dataclass
class Bench:
    """The demo's parts, loaded once."""

    store: Layout
    generator: Generator
    encoder: BatchedEncoder
    base: list[LocalShard]
    scratch: Path
    answers: dict[tuple[str, tuple[str, ...]], str]

    def shard(self, rows: Sequence[tuple[str, str, str, str]], vectors: Vectors, origin: Origin) -> LocalShard:
        """A FAISS shard of (id, title, text, source) with their vectors [n, d]."""
        kept = PASSAGES.append(SOURCE)
        table = pa.Table.from_pylist([dict(zip(kept.names, row)) for row in rows], kept)
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


async def attacked(bench: Bench, found: Sequence[Target], rag: Rag) -> dict[str, list[bool]]:
    """Which targets are answered as the attacker wants, and which right."""
    replies = await asyncio.gather(*(bench.answer(t.example.question, rag) for t in found))
    texts = [text for text, _ in replies]
    return {
        "attacked": [acc(text, [t.wrong.value]) > 0 for text, t in zip(texts, found)],
        "right": [acc(text, [t.fact.value]) > 0 for text, t in zip(texts, found)],
    }


async def learn(bench: Bench, target: Target, rag: Rag) -> Unit | None:
    """A served answer as a unit: distilled from the hits that hold it, read again, and told to witnesses."""
    question = target.example.question
    answer, hits = await bench.answer(question, rag)
    kept = [hit for hit in hits if answer and acc(hit.text, [answer])]
    if not kept:
        return None
    distiller = Distiller(bench.generator, bench.encoder, bench.store.config.enrich)
    unit = (await distiller.distil(f"served-{target.example.id}", question, kept)).unit
    alone, _ = await bench.answer(question, rag, [Hit(unit.id, unit.title, unit.text, 1.0, "writeback")])
    again, _ = await bench.answer(question, rag, kept)
    found = audit(task("qa"), unit.contents, kept, [answer])
    scores = {
        "s_unit": acc(alone, [answer]),
        "s_kept": acc(again, [answer]),
        "answer_in_unit": float(bool(found.answer_in_unit)),
        "answer_in_sources": float(bool(found.answer_in_sources)),
        FROM_TRAFFIC: 1.0,
    }
    return await told(bench, replace(unit, scores=scores), rag, question, kept, [answer])


async def told(
    bench: Bench, unit: Unit, rag: Rag, question: str, sources: Sequence[Hit], answers: Sequence[str]
) -> Unit:
    """The unit with what witnesses say; without where the cheap checks refuse it anyway."""
    config = bench.store.config
    figures = {name: unit.scores.get(name) for name in ("s_unit", "s_kept", "answer_in_unit", "answer_in_sources")}
    written = WrittenUnit(unit, False, False, 0, 0, **figures)  # type: ignore[arg-type]
    if not worth_witnesses(config.checks, written, sources):
        return unit
    said = await witnesses(rag, question, unit, sources, answers, config.enrich.witnesses)
    return replace(unit, witnesses=said, scores={**unit.scores, "witnesses": float(len(said))})


async def poisoning(bench: Bench) -> dict[str, Any]:
    """Every attack, each with every seed's targets, pooled."""
    with bar("attacking") as update:
        found = {}
        for done, each in enumerate(ATTACKS, 1):
            runs = [await one(bench, each, seed) for seed in SEEDS]
            found[each.name] = {
                "passages_each": each.passages_each,
                "names": each.names,
                "rows": {name: _pooled([run["rows"][name] for run in runs]) for name in runs[0]["rows"]},
                "refused": _pooled([run["refused"] for run in runs]),
                "let in": [text for run in runs for text in run["let in"]][:5],
            }
            update(done, len(ATTACKS))
    return found


def _pooled(parts: Sequence[dict[str, list[bool]]]) -> dict[str, Any]:
    return {name: share([hit for part in parts for hit in part[name]]) for name in parts[0]}


async def one(bench: Bench, each: Attack, seed: int) -> dict[str, Any]:
    """One attack on one seed's targets."""
    found = targets(seed)
    bad = poison(each, found, seed)
    vectors = await asyncio.to_thread(bench.encoder.encoder.encode_passages, [p.contents for p in bad])
    planted = bench.shard([(p.id, p.title, p.text, p.source) for p in bad], vectors, "base")
    clean, poisoned = bench.rag([]), bench.rag([planted])
    rows = {
        "clean corpus": await attacked(bench, found, clean),
        "poison in the corpus": await attacked(bench, found, poisoned),
    }
    learnt = await asyncio.gather(*(learn(bench, t, poisoned) for t in found))
    units = list({unit.id: unit for unit in learnt if unit}.values())
    encoded = await asyncio.to_thread(bench.encoder.encoder.encode_passages, [u.contents for u in units])
    new = [StoredUnit(unit, vector) for unit, vector in zip(units, encoded)]
    wanted = {t.example.id: t.wrong.value for t in found}
    carries = {u.id: acc(u.text, [wanted[q.removeprefix("served-")] for q in u.question_ids]) > 0 for u in units}
    passages, shelf = archive(bench.store), bench.store.shelf.read()
    besieged = await _besieged(bench, shelf, poisoned)

    async def checked(
        stock: Sequence[StoredUnit], shards: Sequence[LocalShard], known: dict[str, Passage], others: Any = ()
    ) -> dict[str, list[CheckResult]]:
        near = await nearest_passages(stock, shards)
        states: dict[str, State] = {s.unit.id: "approved" for s in others}
        sizes = Counter(passage.source for passage in known.values())
        ids = {s.unit.id for s in stock}
        return examine([*others, *stock], ids, states, known, near, bench.store.config.checks, corpus=sizes)

    verdicts = {
        trust: await checked(
            new, [*bench.base, planted], passages | {p.id: replace(p, trust=trust) for p in bad}, shelf
        )
        for trust in (1.0, LOW_TRUST)
    }
    honest = await checked(shelf, bench.base, passages)
    siege = await checked(besieged, [*bench.base, planted], passages | {p.id: p for p in bad})
    sets: dict[str, Collection[str]] = {"no checks": set(carries)}
    for name in CHECKS:
        sets[f"only {name}"] = surviving(verdicts[LOW_TRUST if name == "trust" else 1.0], (name,))
    sets["all but dissent, source trusted"] = surviving(verdicts[1.0], set(CHECKS) - {"dissent"})
    sets["all checks, source known as doubtful"] = surviving(verdicts[LOW_TRUST], CHECKS)
    sets["all checks, source trusted"] = surviving(verdicts[1.0], CHECKS)
    for name, ids in sets.items():
        kept = [s for s in new if s.unit.id in ids]
        rows[name] = await attacked(bench, found, bench.rag(writeback(bench, kept)))
        rows[name]["poisoned"] = [s in kept for s in new if carries[s.unit.id]]
    facts = frozenset(fact.state(0) for subject in demo_world().subjects for fact in demo_world().facts[subject])
    true = {s.unit.id for s in shelf if is_true(s.unit, facts)}
    through = [s.unit for s in new if carries[s.unit.id] and s.unit.id in sets["all checks, source trusted"]]
    return {
        "rows": rows,
        "refused": {
            "true units": [not passed(r) for id, r in honest.items() if id in true],
            "true units, by dissent": [failed(r, "dissent") for id, r in honest.items() if id in true],
            "true units, poison in the corpus": [not passed(r) for id, r in siege.items() if id in true],
            "true units, poison in the corpus, by dissent": [
                failed(r, "dissent") for i, r in siege.items() if i in true
            ],
            "false units": [not passed(r) for id, r in honest.items() if id not in true],
        },
        "let in": [f"{unit.title}: {unit.text}" for unit in through],
    }


async def _besieged(bench: Bench, shelf: Sequence[StoredUnit], rag: Rag) -> list[StoredUnit]:
    """The demo's own units, their witnesses asked again beside the poison."""
    examples = {e.id: e for split in ("train",) for e in bench.store.examples(f"demo/{split}")}
    passages, slots = archive(bench.store), asyncio.Semaphore(HONEST_AT_ONCE)

    async def again(stored: StoredUnit) -> StoredUnit:
        asked = examples[stored.unit.question_ids[0]]
        sources = [Hit(p.id, p.title, p.text, 0.0) for id, _ in stored.unit.sources if (p := passages.get(id))]
        async with slots:
            unit = await told(bench, stored.unit, rag, asked.question, sources, asked.golden_answers)
        return replace(stored, unit=unit)

    return list(await asyncio.gather(*map(again, shelf)))


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """Count and share with Wilson's 95% interval."""
    if not hits:
        return {"count": 0, "of": 0, "share": 0.0, "ci95": [0.0, 1.0]}
    interval = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    low, high = float(interval.low), float(interval.high)
    return {"count": sum(hits), "of": len(hits), "share": sum(hits) / len(hits), "ci95": [low, high]}


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
    rows = [(s.unit.id, s.unit.title, s.unit.text, "") for s in stock]
    return [bench.shard(rows, np.array([s.vector for s in stock]), "writeback")] if rows else []
