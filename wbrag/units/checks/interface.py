"""Check interface: what a check is given and what it returns.

A check is a pure function of these, the settings and, where one is set, an entailment model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Passage, Unit, Witness


class Nli(Protocol):
    """A model of entailment: for each (premise, hypothesis) the probabilities (entailment, neutral, contradiction)."""

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float, float]]: ...


@dataclass(frozen=True)
class Neighbour:
    """A text near a unit: another unit on the shelf or a passage of the corpus. `cosine` is to the unit."""

    id: str
    title: str
    text: str
    cosine: float
    kind: str  # "unit" or "passage"
    updated_at: str = ""
    state: str = ""  # of a unit
    source: str = ""  # of a passage


@dataclass(frozen=True)
class Voice:
    """What a witness said of a unit, and who that is: its source, and how far that is trusted."""

    said: Witness
    source: str
    trust: float


@dataclass(frozen=True)
class CheckInput:
    """A unit with what it is checked against."""

    unit: Unit
    sources: tuple[Passage, ...]  # as they stand in the corpus now; one that has gone is missing
    neighbours: tuple[Neighbour, ...] = ()  # nearest first
    voices: tuple[Voice, ...] = ()  # of witnesses that stand in the corpus as they were asked
    corpus: Mapping[str, int] = field(default_factory=dict)  # passages of each source, where it matters


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of the unit's text that need a look, or that are supported."""

    start: int
    end: int
    supported: bool


@dataclass(frozen=True)
class CheckResult:
    """What one check found; `score` against `threshold` in the check's own terms, None where there is no number."""

    name: str
    passed: bool
    score: float | None
    threshold: float | None
    explanation: str
    spans: tuple[Span, ...] = ()


Check = Callable[[CheckInput, ChecksConfig, Nli | None], CheckResult]
