"""Allowance: how many units one source may have let in by the policy, of a release and for one question.

Who can write to one source could else fill the library with what passes every check. What is beyond waits for a person.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

from wbrag.core.types import Unit

ALWAYS = 10  # units of a source that no bound holds back
PER_QUESTION = 3  # units of a source that answer the same question, as runs of several methods make them


class Claim(NamedTuple):
    """What of a unit decides whether it may join: the passages that it is drawn from, and its questions."""

    id: str
    drawn_from: tuple[str, ...]
    question_ids: tuple[str, ...]

    @classmethod
    def of(cls, unit: Unit) -> Self:
        return cls(unit.id, tuple(unit.drawn_from), unit.question_ids)


def allowed(
    candidates: Sequence[Claim],
    standing: Iterable[Claim],
    source_of: Mapping[str, str],
    corpus: Mapping[str, int],
    times: float,
) -> tuple[list[Claim], Counter[str]]:
    """The candidates that may join the standing units, in their order, and how many wait for the bound of each source.

    A source may be behind at most `times` its share of the `corpus` (passages by source) of all of them. `source_of`
    gives a passage's source; a unit counts for each that its evidence is from.
    """
    behind: Counter[str] = Counter()
    answered: Counter[tuple[str, str]] = Counter()
    asked = {question for unit in candidates for question in unit.question_ids}

    def names(unit: Claim) -> set[str]:
        return {source_of[id] for id in unit.drawn_from if id in source_of}

    def add(unit: Claim) -> None:
        for name in names(unit):
            behind[name] += 1
            answered.update((name, question) for question in unit.question_ids if question in asked)

    whole, total = sum(corpus.values()), 0
    for total, unit in enumerate(standing, 1):  # noqa: B007
        add(unit)

    def full(name: str, unit: Claim) -> bool:
        share = corpus.get(name, 0) / whole if whole else 1.0
        most = max(ALWAYS, math.floor(times * share * (total + len(found) + 1) + 1e-9))
        return behind[name] >= most or any(answered[name, question] >= PER_QUESTION for question in unit.question_ids)

    found: list[Claim] = []
    waiting: Counter[str] = Counter()
    for unit in candidates:
        if over := sorted(name for name in names(unit) if full(name, unit)):
            waiting[over[0]] += 1
        else:
            add(unit)
            found.append(unit)
    return found, waiting
