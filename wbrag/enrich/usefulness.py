"""Labels of usefulness: how much each candidate document alone raises the likelihood of the gold answer.

They are what a retriever can learn from a generator, and where `wbrag diagnose` looks. No gate reads them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task as known_task
from wbrag.core.types import Example, Hit, Int32
from wbrag.data.chunk import document_of
from wbrag.methods import Rag
from wbrag.methods.meter import Meter


class Candidate(NamedTuple):
    """A document that was found. `holds`: it holds the answer, None where that cannot be read from it.

    `logprob`: nats a token of the gold answer with this document alone in the context, None where nobody asked.
    """

    id: str
    score: float  # similarity
    holds: bool | None = None
    logprob: float | None = None


class Usefulness(NamedTuple):
    """The candidates of one example, best first; `logprob_nr`: nats a token of the gold answer without documents."""

    candidates: tuple[Candidate, ...] = ()
    logprob_nr: float | None = None
    calls: Int32 = 0


def depth(settings: EnrichConfig) -> int:
    """How many candidates are looked at; 0: none."""
    return max(settings.candidates, settings.candidate_depth)


async def usefulness(rag: Rag, example: Example, settings: EnrichConfig) -> Usefulness:
    """The best `candidate_depth` documents of the question itself, `candidates` of them with their likelihood.

    The answer is the shortest gold one: one call a document, of a length that all documents share. An example without
    a gold answer gets no likelihoods.
    """
    meter = Meter(rag.generator, rag.retriever)
    [hits] = await rag.retriever.search([example.question], depth(settings))
    found = [Candidate(hit.id, round(hit.similarity, 6), holds(example, hit, closed=rag.task.closed)) for hit in hits]
    if not (settings.candidates and example.golden_answers):
        return Usefulness(tuple(found))
    gold = min(example.golden_answers, key=len)

    async def likelihood(documents: Sequence[Hit]) -> float:
        scored = await meter.score(rag.task.messages(example.question, documents, rag.prompts_dir), gold)
        return scored.logprob / max(1, scored.tokens)

    ranks = drawn(len(hits), settings.candidates, example.id)
    nr, *alone = await asyncio.gather(likelihood([]), *(likelihood([hits[rank]]) for rank in ranks))
    for rank, logprob in zip(ranks, alone):
        found[rank] = found[rank]._replace(logprob=logprob)
    return Usefulness(tuple(found), nr, meter.calls)


def drawn(found: int, wanted: int, key: str) -> list[int]:
    """Ranks to ask about, ascending: half of `wanted` from the top, the others one of each equal stretch below.

    What only the top could teach is how to stay as it is. The same `key` draws the same.
    """
    if wanted >= found:
        return list(range(found))
    top = (wanted + 1) // 2
    below = wanted - top
    edges = [top + (found - top) * n // below for n in range(below + 1)] if below else []
    chance = random.Random(key)
    return [*range(top), *(chance.randrange(a, b) for a, b in pairwise(edges))]


def holds(example: Example, hit: Hit, *, closed: bool) -> bool | None:
    """Whether a passage holds the answer: by the example's gold passages where it names some, else by its words.

    The words of a label (`closed`) say nothing.
    """
    if gold := gold_ids(example):
        return is_gold(hit.id, gold)
    if closed or not example.golden_answers:
        return None
    return known_task(example.task).contains(f"{hit.title}\n{hit.text}", example.golden_answers)


def held_again(found: Usefulness, example: Example) -> Usefulness:
    """What an earlier run found, by the gold passages that the example names now: its row does not depend on them."""
    if not (gold := gold_ids(example)):
        return found
    return found._replace(candidates=tuple(c._replace(holds=is_gold(c.id, gold)) for c in found.candidates))


def is_gold(id: str, gold: Collection[str]) -> bool:
    """Whether a passage is one of these; a document counts by any of its chunks."""
    return id in gold or document_of(id) in gold


def gold_ids(example: Example) -> frozenset[str]:
    """The passages that the example's `metadata["gold"]` names."""
    named = example.metadata.get("gold")
    return frozenset(map(str, named)) if isinstance(named, list | tuple) else frozenset()
