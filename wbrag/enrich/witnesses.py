"""Witnesses: passages beside a unit's sources that name its subject, each asked the unit's question alone.

Isolating passages and counting their answers is RobustRAG's way to bound what a poisoned one can do
(https://arxiv.org/abs/2405.15556). Nothing is decided here: the publication check `dissent` reads what they said.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from wbrag.core.errors import PromptTooLong
from wbrag.core.normalise import normalise
from wbrag.core.sentences import sentences
from wbrag.core.types import Hit, Unit, Witness
from wbrag.methods import Rag, naive

VERSION = 1  # raised whenever others would be asked, or otherwise
DEPTH = 100  # passages looked through for each of two queries, the question and the unit's title
TOGETHER = 4  # asked in one go; what they say decides whom to ask next
LEAD = 2  # answers by which a source is decided: no more of its passages are asked
NOTHING_SAID = frozenset({"no", "none", "yes", "unknown", "not", "true", "false"})
NAMED = 0.5  # more than this share of a title's words stands in a passage that names its subject


async def witnesses(
    rag: Rag, question: str, unit: Unit, retained: Sequence[Hit], answers: Sequence[str], limit: int
) -> tuple[Witness, ...]:
    """Those of at most `limit` passages whose own text holds what they answer, which `answers` agree with or not.

    Sources take turns, those that said nothing yet first, so that none fills the places of the others.
    """
    found: list[Witness] = []
    if not any(map(normalise, answers)):
        return ()
    used = unit.drawn_from
    own = {_source(hit) for hit in retained if hit.id in used}
    asked, leads = Counter[str](), Counter[str]()
    subject = _subject(unit.title, question)
    waiting = await _beside(rag, question, unit, subject, used)
    while waiting and limit > 0:
        open_ones = [hit for hit in waiting if not _decided(_source(hit), leads, own)]
        now = _next(open_ones, asked, leads)[: min(TOGETHER, limit)]
        waiting = [hit for hit in open_ones if hit not in now]
        limit -= len(now)
        said = await asyncio.gather(*(_answer(question, rag, hit) for hit in now))
        for hit, answer in zip(now, said):
            asked[_source(hit)] += 1
            if (witness := said_by(hit, question, answer, answers, subject)) is not None:
                found.append(witness)
                if _names(f"{hit.title} {witness.sentence}", subject):
                    leads[_source(hit)] += 1 if witness.agrees else -1
    return tuple(found)


async def _answer(question: str, rag: Rag, hit: Hit) -> str:
    """Nothing from a passage that the model has no room for."""
    try:
        return (await naive.answer(question, rag, [hit])).text
    except PromptTooLong:
        return ""


def _source(hit: Hit) -> str:
    """Who wrote it; a passage of nobody's speaks for itself."""
    return hit.source or hit.id


def _decided(source: str, leads: Mapping[str, int], own: Collection[str]) -> bool:
    """A source that the unit is from is asked more, before its word counts for it."""
    return leads[source] <= -LEAD or leads[source] >= (2 * LEAD if source in own else LEAD)


def _subject(title: str, question: str) -> set[str]:
    """The words of a title that the question asks about: a title is the writer's, and may be padded."""
    named, asked = set(normalise(title).split()), set(normalise(question).split())
    return named & asked or named or asked


def _next(waiting: Sequence[Hit], asked: Mapping[str, int], leads: Mapping[str, int]) -> list[Hit]:
    """Whose turn it is: of sources that said nothing yet, of those least asked, and of these by rank."""
    turn = Counter(asked)
    numbered = []
    for place, hit in enumerate(waiting):
        numbered.append((bool(leads[_source(hit)]), turn[_source(hit)], place))
        turn[_source(hit)] += 1
    return [waiting[place] for _, _, place in sorted(numbered)]


def said_by(
    hit: Hit, question: str, answer: str, answers: Sequence[str], subject: Collection[str] = ()
) -> Witness | None:
    """What a passage says; None where no sentence of it holds the answer, which is then the model's own.

    Of several sentences the first that names most of `subject`, with the one before it where that alone names it.
    """
    choice = any(not _core(gold, question) for gold in answers)  # the question names what it may be answered with
    core = normalise(answer) if choice else _core(answer, question)
    if not core or core in NOTHING_SAID:
        return None
    spans = sentences(hit.text)
    holding = [n for n, (start, end) in enumerate(spans) if _holds(hit.text[start:end], core)]
    if not holding:
        return None

    def named(first: int, last: int) -> int:
        return len(set(subject) & set(normalise(hit.text[spans[first][0] : spans[last][1]]).split()))

    at = max(holding, key=lambda n: (named(n, n), -n))
    start = at - 1 if at and not named(at, at) and named(at - 1, at) else at
    agrees = any(_same(core, normalise(gold) if choice else _core(gold, question)) for gold in answers)
    return Witness(hit.id, hit.title, answer, hit.text[spans[start][0] : spans[at][1]], agrees)


async def _beside(rag: Rag, question: str, unit: Unit, subject: Collection[str], used: Collection[str]) -> list[Hit]:
    """Base passages that name the unit's subject and that it is not from, nearest first of either query."""
    lists = await rag.retriever.search([question, unit.title or question], DEPTH)
    ranked = [hit for pair in _zipped(lists) for hit in pair if hit.origin == "base" and hit.id not in used]
    first: dict[str, Hit] = {}
    for hit in ranked:
        first.setdefault(hit.id, hit)
    return [hit for hit in first.values() if _names(f"{hit.title} {hit.text}", subject)]


def _zipped(lists: Sequence[Sequence[Hit]]) -> Iterator[list[Hit]]:
    for rank in range(max(map(len, lists), default=0)):
        yield [hits[rank] for hits in lists if rank < len(hits)]


def _names(text: str, subject: Collection[str]) -> bool:
    text = normalise(text)
    words = set(text.split())
    held = [word for word in subject if word in words or _within(text, word)]
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
    text, words = normalise(sentence), set(core.split())
    return words <= set(text.split()) or _within(text, core)


def _within(text: str, words: str) -> bool:
    """Whether they stand in it, in scripts that set no spaces between words."""
    return not words.isascii() and words in text
