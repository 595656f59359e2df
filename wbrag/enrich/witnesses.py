"""Witnesses: passages beside a unit's sources that name its subject, each asked the unit's question alone.

Isolating passages and counting their answers is RobustRAG's way to bound what a poisoned one can do
(https://arxiv.org/abs/2405.15556). Nothing is decided here: the publication check `dissent` reads what they said.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from wbrag.core.metrics import normalise
from wbrag.core.sentences import sentences
from wbrag.core.types import Hit, Unit, Witness
from wbrag.methods import Rag, naive

VERSION = 1  # raised whenever others would be asked, or otherwise
DEPTH = 100  # passages looked through for each of two queries, the question and the unit's title
TOGETHER = 4  # asked in one go; what they say decides whom to ask next
LEAD = 2  # answers by which a source is decided: no more of its passages are asked
NAMED = 0.5  # more than this share of a title's words stands in a passage that names its subject

Worth = Callable[[Unit, Sequence[Hit]], bool]  # whether a unit of these sources is worth its witnesses


def nobody(unit: Unit, retained: Sequence[Hit]) -> bool:
    """No unit is."""
    return False


async def witnesses(
    rag: Rag, question: str, unit: Unit, retained: Sequence[Hit], answers: Sequence[str], limit: int
) -> tuple[Witness, ...]:
    """Those of at most `limit` passages whose own text holds what they answer, which `answers` agree with or not.

    Sources take turns, those that said nothing yet first, so that none fills the places of the others.
    """
    found: list[Witness] = []
    asked, leads = Counter[str](), Counter[str]()
    subject = set(normalise(unit.title or question).split())
    waiting = await _beside(rag, question, unit, subject, retained)
    while waiting and limit > 0:
        now = _next(waiting, asked, leads)[: min(TOGETHER, limit)]
        waiting = [hit for hit in waiting if abs(leads[hit.source]) < LEAD and hit not in now]
        limit -= len(now)
        said = await asyncio.gather(*(naive.answer(question, rag, [hit]) for hit in now))
        for hit, answer in zip(now, said):
            asked[hit.source] += 1
            if (witness := said_by(hit, question, answer.text, answers, subject)) is not None:
                found.append(witness)
                if _names(f"{hit.title} {witness.sentence}", subject):
                    leads[hit.source] += 1 if witness.agrees else -1
    return tuple(found)


def _next(waiting: Sequence[Hit], asked: Mapping[str, int], leads: Mapping[str, int]) -> list[Hit]:
    """Whose turn it is: of sources that said nothing yet, of those least asked, and of these by rank."""
    turn = Counter(asked)
    numbered = []
    for place, hit in enumerate(waiting):
        numbered.append((bool(leads[hit.source]), turn[hit.source], place))
        turn[hit.source] += 1
    return [waiting[place] for said, _, place in sorted(numbered) if abs(leads[waiting[place].source]) < LEAD]


def said_by(
    hit: Hit, question: str, answer: str, answers: Sequence[str], subject: Collection[str] = ()
) -> Witness | None:
    """What a passage says; None where no sentence of it holds the answer, which is then the model's own.

    Of several sentences the first that names most of `subject`, with the one before it where that alone names it.
    """
    core = _core(answer, question)
    if not core:
        return None
    spans = sentences(hit.text)
    holding = [n for n, (start, end) in enumerate(spans) if _holds(hit.text[start:end], core)]
    if not holding:
        return None

    def named(first: int, last: int) -> int:
        return len(set(subject) & set(normalise(hit.text[spans[first][0] : spans[last][1]]).split()))

    at = max(holding, key=lambda n: (named(n, n), -n))
    start = at - 1 if at and not named(at, at) and named(at - 1, at) else at
    agrees = any(_same(core, _core(gold, question) or normalise(gold)) for gold in answers)
    return Witness(hit.id, hit.title, answer, hit.text[spans[start][0] : spans[at][1]], agrees)


async def _beside(rag: Rag, question: str, unit: Unit, subject: Collection[str], retained: Sequence[Hit]) -> list[Hit]:
    """Base passages that name the unit's subject and are none of its sources, nearest first of either query."""
    lists = await rag.retriever.search([question, unit.title or question], DEPTH)
    sources = {hit.id for hit in retained}
    ranked = [hit for pair in _zipped(lists) for hit in pair if hit.origin == "base" and hit.id not in sources]
    first: dict[str, Hit] = {}
    for hit in ranked:
        first.setdefault(hit.id, hit)
    return [hit for hit in first.values() if _names(f"{hit.title} {hit.text}", subject)]


def _zipped(lists: Sequence[Sequence[Hit]]) -> Iterator[list[Hit]]:
    for rank in range(max(map(len, lists), default=0)):
        yield [hits[rank] for hits in lists if rank < len(hits)]


def _names(text: str, subject: Collection[str]) -> bool:
    held = set(subject) & set(normalise(text).split())
    return len(held) > NAMED * len(subject)


def _core(answer: str, question: str) -> str:
    """The words of an answer that the question does not hold: of a whole sentence, what it says."""
    asked = set(normalise(question).split())
    return " ".join(word for word in normalise(answer).split() if word not in asked)


def _same(ours: str, theirs: str) -> bool:
    """Whether one of two answers holds all words of the other: "Obama" and "Barack Obama"."""
    a, b = set(ours.split()), set(theirs.split())
    return bool(a and b) and (a <= b or b <= a)


def _holds(sentence: str, core: str) -> bool:
    text = normalise(sentence)
    return core in text or set(core.split()) <= set(text.split())
