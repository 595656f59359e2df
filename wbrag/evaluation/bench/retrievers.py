"""Retriever study: how trained and hybrid retrieval rank gold passages and answer, beside their controls.

Three kinds of records. `test`: the whole index is searched for held-out questions. `unseen`: the same for sets that
taught nothing. `candidates`: the lists of the fifth of the training questions that no retriever learned from, where the
teacher's own ranking is the upper bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from wbrag.core.metrics import bootstrap_ci, compare, holm
from wbrag.core.progress import bar
from wbrag.core.tasks import Task, task
from wbrag.core.types import Hit, PassageText
from wbrag.enrich.rows import Row
from wbrag.enrich.usefulness import gold_ids, is_gold
from wbrag.evaluation.bench.libraries import library
from wbrag.evaluation.bench.studies import against
from wbrag.evaluation.bench.suite import QuestionSet, RetrieverStudy
from wbrag.executor.learners import Kind, Learner
from wbrag.executor.runner import Runner
from wbrag.executor.taught import Taught, gold_only, shuffled, teach
from wbrag.retrieval.adapter import Adapter, adapted
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.copies import with_copy
from wbrag.retrieval.index.manifest import verify
from wbrag.retrieval.reranker import Pair, Reranker, RerankerModel
from wbrag.retrieval.retriever import IndexRetriever
from wbrag.retrieval.trained import TrainedRetriever, open_adapter, reranker_of, trained
from wbrag.training.adapter import scores, teacher, train_adapter
from wbrag.training.lessons import Floats, Lessons, split
from wbrag.training.measures import Measured, measure
from wbrag.units.layout import Index
from wbrag.units.releases import now

AT_ONCE = 32  # questions
DEPTH = 10  # hits of a held-out question that are looked at
ANSWERED = ("acc", "f1")  # how answers are scored


class Remembering:
    """A reranker that reads no pair twice: most ways find the same passages in another order."""

    def __init__(self, reader: Reranker) -> None:
        self.reader, self._read = reader, dict[Pair, float]()

    async def logits(self, pairs: Sequence[Pair]) -> list[float]:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._read]
        self._read.update(zip(new, await self.reader.logits(new), strict=True) if new else ())
        return [self._read[pair] for pair in pairs]


class Way(NamedTuple):
    """One way to retrieve."""

    adapter: Adapter | None = None
    reranker: RerankerModel | None = None
    hybrid: float = 0.0
    units: bool = False


@dataclass(frozen=True)
class Learned:
    """What one set taught, and how its own held-out candidates are ranked by each."""

    taught: Taught
    adapter: Adapter
    reranker: RerankerModel | None
    controls: Mapping[str, Adapter]


def run(
    runner: Runner, study: RetrieverStudy, sets: Mapping[str, QuestionSet], units: Mapping[str, Sequence[PassageText]]
) -> Iterator[list[Row]]:
    """The records of one set after the other; `units` are those that write-back made of each."""
    if study.hybrid:
        worded = runner.varied(retrieval={"hybrid": study.hybrid})
        if not worded.layout.indexed():
            worded.index()
    learned = {name: learn(runner, study, questions) for name, questions in sets.items()}
    for name, questions in sets.items():
        own = learned[name]
        rows = [*candidates(runner, own), *tested(runner, study, name, questions, learned, units[name])]
        corrected(rows)
        yield [{"set": name} | row for row in rows]
    for name in study.unseen:
        rows = list(untaught(runner, study, name, learned))
        corrected(rows)
        yield [{"set": name} | row for row in rows]


def learn(runner: Runner, study: RetrieverStudy, questions: QuestionSet) -> Learned:
    """Train what the study asks for, unless the workspace has it."""
    taught = teach(runner, questions.train, "reranker" if study.reranker else "adapter", questions.train_limit)
    adapter = open_adapter(runner.layout.retrievers, known(runner, taught, "adapter"))
    assert adapter is not None
    reranker = None
    if study.reranker:
        found = known(runner, taught, "reranker")
        reranker = reranker_of(runner.layout.retrievers, found, runner.config.rerank)
    controls = {
        name: _adapter(runner, taught, lessons)
        for name, lessons in (
            ("shuffled labels", shuffled(taught.lessons, runner.config.seed)),
            ("gold passages only", gold_only(taught.lessons)),
        )
    }
    return Learned(taught, adapter, reranker, controls)


def known(runner: Runner, taught: Taught, kind: Kind) -> TrainedRetriever:
    """The one of this kind that learned just this, trained now where there is none."""
    c, root = runner.config, runner.layout.retrievers
    made = taught.made | {"settings": getattr(c.train, kind).model_dump(mode="json")}
    for one in trained(root, encoder_fingerprint(c.encoder)):
        if [part.kind for part in one.parts] == [kind] and made.items() <= dict(one.parts[0].made).items():
            return one
    learned = Learner(runner, kind, taught.texts)(taught.lessons, f"training the {kind}")
    part = learned.keep(made, {})
    dimension = taught.lessons.queries.shape[1]
    found = TrainedRetriever(encoder_fingerprint(c.encoder), c.encoder.model, dimension, (part,), now())
    found.write(root)
    learned.forget()
    return found


def _adapter(runner: Runner, taught: Taught, lessons: Lessons) -> Adapter:
    c = runner.config
    return train_adapter(
        lessons, c.train.adapter, top_k=c.retrieval.top_k, seed=c.seed, update=lambda done, total: None
    ).adapter


def candidates(runner: Runner, own: Learned) -> list[Row]:
    """Held-out candidate lists, ranked by similarity, by the teacher, and by what learned from it."""
    lessons, c = own.taught.lessons, runner.config
    rows = split(lessons.ids, c.seed).held_out
    part = lessons.part(rows)
    similarity = scores(part, None)
    ranked: dict[str, Floats] = {
        "similarity": similarity,
        "likelihood": np.where(part.asked, part.logprob, -np.inf),
        "teacher: both": teacher(part, c.train.adapter),
        "adapter": scores(part, own.adapter),
    }
    ranked |= {f"adapter, {name}": scores(part, adapter) for name, adapter in own.controls.items()}
    if own.reranker:
        from wbrag.training.reranker import best_of, logits, mixed

        assert own.reranker.files is not None
        folder = with_copy(runner.layout.retrievers, own.reranker.files, None, verify)
        seen = best_of(similarity, part.present, own.reranker.settings.candidates) & part.asked
        read = logits(folder, part, seen, own.taught.texts.part(rows), c.train.reranker)
        ranked["reranker"] = mixed(read, similarity, own.reranker.slope)
    only = replace(part, present=part.asked, gold=part.gold & part.asked)  # the others the teacher cannot rank
    measured = {name: measure(only, found) for name, found in ranked.items()}
    return [_record("candidates", name, found, measured["similarity"]) for name, found in measured.items()]


def tested(
    runner: Runner,
    study: RetrieverStudy,
    name: str,
    questions: QuestionSet,
    learned: Mapping[str, Learned],
    units: Sequence[PassageText],
) -> Iterator[Row]:
    """The index searched for the set's held-out questions in every way, and answers where an arm is no control."""
    own = learned[name]
    whole = Way(own.adapter, own.reranker, study.hybrid)
    answering = {"base": Way(), "write-back": Way(units=True), "adapter": Way(own.adapter)}
    if own.reranker:
        answering["reranker"] = Way(reranker=own.reranker)
    if study.hybrid:
        answering["hybrid"] = Way(hybrid=study.hybrid)
    answering |= {"all but write-back": whole, "all together": whole._replace(units=True)}
    ways = answering | {f"adapter, {control}": Way(adapter) for control, adapter in own.controls.items()}
    for other, theirs in learned.items():
        if other != name:
            ways[f"adapter of {other}"] = Way(theirs.adapter)
            if theirs.reranker:
                ways[f"reranker of {other}"] = Way(reranker=theirs.reranker)
    base, answers, readers = None, None, dict[str, Remembering]()
    tasks = {e.id: task(e.task) for e in runner.layout.examples(questions.test, questions.test_limit)}
    for arm, way in ways.items():
        found = _ranked(runner, questions, way, units, readers)
        base = base or found
        row = _record("test", arm, found, base)
        if arm in answering:
            given = _answers(runner, questions, arm, way, units)
            answers = answers or given
            for metric in ANSWERED:
                both = (_scored(given_rows, tasks, metric) for given_rows in (answers, given))
                row |= {f"{metric}_{key}": value for key, value in against(*both).items()}
        yield row


def untaught(runner: Runner, study: RetrieverStudy, name: str, learned: Mapping[str, Learned]) -> Iterator[Row]:
    """The index searched for the questions of a set that taught nothing, by whatever the others taught."""
    ways = {"base": Way()}
    if study.hybrid:
        ways["hybrid"] = Way(hybrid=study.hybrid)
    for other, theirs in learned.items():
        ways[f"adapter of {other}"] = Way(theirs.adapter)
        if theirs.reranker:
            ways[f"reranker of {other}"] = Way(reranker=theirs.reranker)
            ways[f"hybrid, both of {other}"] = Way(theirs.adapter, theirs.reranker, study.hybrid)
    questions, base = QuestionSet(train=name, test=name, test_limit=study.unseen_limit), None
    readers: dict[str, Remembering] = {}
    for arm, way in ways.items():
        found = _ranked(runner, questions, way, [], readers)
        base = base or found
        yield _record("unseen", arm, found, base)


def _scored(rows: Sequence[Row], tasks: Mapping[str, Task], metric: str) -> list[Row]:
    """The same answers under another metric: few models answer in a task's own form, as exact match wants."""
    return [
        row | {"score": tasks[row["id"]].score(row["prediction"], row["golden_answers"], metric)}
        if not row["error"]
        else row
        for row in rows
    ]


def _indexes(runner: Runner, way: Way, units: Sequence[PassageText]) -> tuple[Runner, list[Index]]:
    varied = runner.varied(retrieval={"hybrid": way.hybrid}, rerank={"model": None})
    return varied, library(varied, units if way.units else [])


def _answers(runner: Runner, questions: QuestionSet, arm: str, way: Way, units: Sequence[PassageText]) -> list[Row]:
    varied, indexes = _indexes(runner, way, units)
    return varied.answers(
        questions.test,
        release=arm,
        limit=questions.test_limit,
        indexes=indexes,
        adapter=way.adapter,
        reranker=way.reranker,
    )


def _ranked(
    runner: Runner, questions: QuestionSet, way: Way, units: Sequence[PassageText], readers: dict[str, Remembering]
) -> Measured:
    """Recall@1 and MRR@10 of gold passages, for held-out questions that name some; a unit stands for none."""
    varied, indexes = _indexes(runner, way, units)
    examples = [e for e in runner.layout.examples(questions.test, questions.test_limit) if gold_ids(e)]
    opened = varied.searched(indexes)
    reader = None
    if way.reranker:
        key = way.reranker.fingerprint
        if key not in readers:
            readers[key] = Remembering(opened.rerank(way.reranker))
        reader = (readers[key], way.reranker)
    encoder = adapted(opened.encoder, way.adapter)
    retriever = IndexRetriever(encoder, opened.shards, varied.config.retrieval, reranker=reader)
    hits: list[list[Hit]] = []
    with bar(f"ranking {questions.test}", shown=runner.progress) as update:
        for at in range(0, len(examples), AT_ONCE):
            asked = [e.question for e in examples[at : at + AT_ONCE]]
            hits += asyncio.run(retriever.search(asked, DEPTH))
            update(len(hits), len(examples))
    firsts = [
        next((at for at, hit in enumerate(own) if is_gold(hit.id, gold_ids(example))), None)
        for example, own in zip(examples, hits, strict=True)
    ]
    recall = np.array([first == 0 for first in firsts], np.float32)
    mrr = np.array([0.0 if first is None else 1 / (1 + first) for first in firsts], np.float32)
    return Measured(recall, mrr, np.full(len(firsts), np.nan, np.float32))


def _record(of: str, arm: str, found: Measured, base: Measured) -> Row:
    """Means, and paired differences to the base."""
    row: dict[str, Any] = {"of": of, "arm": arm}
    for name in Measured._fields:
        after, before = getattr(found, name), getattr(base, name)
        known = np.isfinite(after) & np.isfinite(before)
        if known.any():
            difference = (after - before)[known].tolist()
            row[name] = float(after[known].mean())
            row |= {f"{name}_gain": float(np.mean(difference)), f"{name}_ci95": list(bootstrap_ci(difference))}
            row["n"] = int(known.sum()) if name == "recall_at_1" else row.get("n", int(known.sum()))
    right = np.isfinite(found.recall_at_1)
    row["p"] = compare(base.recall_at_1[right].tolist(), found.recall_at_1[right].tolist()).p
    return row


def corrected(rows: Sequence[Row]) -> None:
    """Sets `p_holm`, and that of each metric of answers: over the ways of one set, in each kind of record apart."""
    for of in {row["of"] for row in rows}:
        for name in ("p", *(f"{metric}_p" for metric in ANSWERED)):
            family = [row for row in rows if row["of"] == of and name in row]
            for row, p in zip(family, holm([row[name] for row in family])):
                row[f"{name}_holm"] = p
