"""Readings: questions with their gold passages and the similar ones that retrieval finds, for those who learn to read.

What is kept apart is never shown: neither its questions nor their gold passages, not even as a distractor.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wbrag.core.errors import UsageError
from wbrag.core.sentences import sentences
from wbrag.core.types import Example, Passage, content_hash
from wbrag.data.chunk import document_of
from wbrag.data.demo.facts import demo_world
from wbrag.data.demo.world import Fact, World, build_world
from wbrag.enrich.usefulness import gold_ids, is_gold
from wbrag.executor.models import Models
from wbrag.retrieval.external import is_external
from wbrag.retrieval.retriever import IndexRetriever
from wbrag.training.exercises import DOCUMENTS, Reading
from wbrag.training.lessons import split

log = logging.getLogger(__name__)
NEAR = 20  # hits of a question that distractors are taken from
AT_ONCE = 512  # questions
CHUNKS = 8  # the first of a document that was cut; later ones as far as retrieval finds them
ARCHIVE = "archive"  # where readings of no set come from
ARCHIVE_SEED = 31  # of worlds that are not the demo's


@dataclass(frozen=True)
class Apart:
    """What nobody who learns may see: questions by their words, passages by the documents that they were cut from."""

    questions: frozenset[str]
    documents: frozenset[str]

    @staticmethod
    def of(examples: Sequence[Example]) -> Apart:
        questions = frozenset(_plain(e.question) for e in examples)
        return Apart(questions, frozenset(document_of(id) for e in examples for id in gold_ids(e)))

    def holds(self, example: Example) -> bool:
        """Whether a question is one of them, or is answered by one of their passages."""
        asked = _plain(example.question) in self.questions
        return asked or not self.documents.isdisjoint(map(document_of, gold_ids(example)))


class Drawn(NamedTuple):
    """An example, and the NAME/SPLIT that it is of: two sets may call different questions the same."""

    of: str
    example: Example


def drawn(models: Models, names: Sequence[str], apart: Apart, count: int, seed: int) -> list[Drawn]:
    """`count` of the examples of NAME/SPLIT ... that name gold passages and are not kept apart; always the same."""
    found = [Drawn(name, e) for name in dict.fromkeys(names) for e in models.layout.examples(name) if gold_ids(e)]
    free = {_plain(one.example.question): one for one in found if not apart.holds(one.example)}.values()
    if not free:
        raise UsageError(
            f"expected questions of {', '.join(names)} that name their gold passages and are not kept apart, found "
            'none: give metadata {"gold": [ids]}'
        )
    # another hash than the one that splits them, or the first of many would all be held out
    return sorted(free, key=lambda one: content_hash(f"drawn {seed} {one.of} {one.example.id}"))[:count]


def readings(models: Models, asked: Sequence[Drawn], apart: Apart) -> list[Reading]:
    """Those whose gold passages are in the corpus, with similar passages beside them.

    Raises `UsageError` over an outside store, which names no passages that it would find instead.
    """
    if is_external(models.config):
        raise UsageError(
            f"expected wbrag's own index, whose neighbours are read, found retriever.kind "
            f"{models.config.retriever.kind!r}: ingest the corpus and set retriever.kind faiss"
        )
    named = {id for one in asked for id in gold_ids(one.example)}
    known = models.layout.passages([*named, *(f"{id}#{n}" for id in named for n in range(CHUNKS))])
    found = list[Reading]()
    for start in range(0, len(asked), AT_ONCE):
        part = asked[start : start + AT_ONCE]
        texts = [_texts(one.example, hits, known, apart) for one, hits in zip(part, _hits(models, part), strict=True)]
        similar = iter(_similar(models, part, [gold for gold, _ in texts]))
        found += [
            Reading(one.of, one.example, gold, near, [next(similar) for _ in gold])
            for one, (gold, near) in zip(part, texts, strict=True)
            if gold
        ]
    if lost := len(asked) - len(found):
        log.warning("%d of %d questions are not read: their gold passages are not in the corpus", lost, len(asked))
    return found


def _hits(models: Models, asked: Sequence[Drawn]) -> list[list[Passage]]:
    opened = models.searched(models.layout.indexes("none"))
    retriever = IndexRetriever(opened.encoder, opened.shards, models.config.retrieval)
    hits = asyncio.run(retriever.search([one.example.question for one in asked], NEAR))
    return [[Passage(hit.id, hit.title, hit.text) for hit in own] for own in hits]


def _texts(
    example: Example, hits: Sequence[Passage], known: dict[str, Passage], apart: Apart
) -> tuple[list[Passage], list[Passage]]:
    """Gold passages, those of a long document that was cut as far as they were found, and `DOCUMENTS` similar ones."""
    named = gold_ids(example)
    ids = (one for id in sorted(named) for one in (id, *(f"{id}#{n}" for n in range(CHUNKS))))
    gold = {id: known[id] for id in ids if id in known} | {p.id: p for p in hits if is_gold(p.id, named)}
    near = [p for p in hits if p.id not in gold and document_of(p.id) not in apart.documents]
    return list(gold.values()), near[:DOCUMENTS]


def _similar(models: Models, asked: Sequence[Drawn], gold: Sequence[Sequence[Passage]]) -> Iterator[list[float]]:
    """The similarity of every sentence of every gold passage to its question, passage by passage."""
    said = [[p.text[a:b] for a, b in sentences(p.text)] for own in gold for p in own]
    if not said:
        return
    questions = models.embed_queries([one.example.question for one in asked])
    vectors = models.embed([sentence for passage in said for sentence in passage])
    row, passages = 0, iter(said)
    for question, own in zip(questions, gold, strict=True):
        for _ in own:
            count = len(next(passages))
            yield [float(one) for one in vectors[row : row + count] @ question]
            row += count


def archive(count: int, seed: int) -> list[Reading]:
    """Readings in the language of the demo's archive, from worlds that share no passage with the demo's own."""
    rng, found = random.Random(ARCHIVE_SEED + seed), list[Reading]()
    own = {passage.text for passage in demo_world().passages}
    while len(found) < count:
        world = build_world(rng, clusters=8)
        facts = [fact for subject in world.subjects for fact in world.facts[subject]]
        found += [
            reading
            for fact in rng.sample(facts, min(len(facts), 12))
            if (reading := _of_fact(world, fact, rng)) and own.isdisjoint(p.text for p in reading.gold)
        ]
    return found[:count]


def _of_fact(world: World, fact: Fact, rng: random.Random) -> Reading | None:
    gold = [p for p in world.passages if fact in p.facts][:1]
    if not gold:
        return None
    others = [p for p in world.passages if fact not in p.facts]
    alike = sorted(others, key=lambda p: -sum(f.relation == fact.relation for f in p.facts))
    number = rng.randrange(10**9)
    named = [Passage(f"{ARCHIVE}-{number}-{p.id}", p.title, p.text) for p in [*gold, *alike[:DOCUMENTS]]]
    question = fact.ask(rng.choice(("train", "other")), rng.randrange(2))
    example = Example(str(number), question, (fact.value,), metadata={"gold": [named[0].id]})
    scores = [float(s.fact is not None and s.fact.subject == fact.subject) for s in gold[0].statements]
    spans = sentences(named[0].text)
    return Reading(
        ARCHIVE, example, named[:1], named[1:], [scores if len(spans) == len(scores) else [1.0] * len(spans)]
    )


def parts(found: Sequence[Reading], seed: int) -> tuple[list[Reading], list[Reading], list[Reading]]:
    """To learn from, to stop by, and to be measured on: by the hash of each one's first gold passage.

    Nothing is learned from a passage that others of the three are about.
    """
    told = split([min(gold_ids(one.example)) for one in found], seed)
    taught, stopping, held_out = ([found[row] for row in rows] for rows in told)
    kept = {document_of(id) for one in held_out for id in gold_ids(one.example)}
    stopping = _without(stopping, kept)
    kept |= {document_of(id) for one in stopping for id in gold_ids(one.example)}
    return _without(taught, kept), stopping, held_out


def _without(found: Sequence[Reading], documents: Collection[str]) -> list[Reading]:
    return [one for one in found if not any(document_of(id) in documents for id in gold_ids(one.example))]


def _plain(question: str) -> str:
    return " ".join(question.casefold().split()).rstrip("?. ")
