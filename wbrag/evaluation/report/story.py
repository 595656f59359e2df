"""Demo results: what one run measured, as plain data; the page is drawn from it and `wbrag demo --json` prints it.

What was not measured is NaN here and null in JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from wbrag.core.metrics import Interval
from wbrag.core.types import Origin
from wbrag.evaluation.diagnosis.diagnose import Diagnosis

HalfName = Literal["reworded", "new_facts"]


@dataclass(frozen=True)
class Score:
    """Mean score of `n` questions, in [0, 1], with its 95% interval."""

    n: int
    score: float
    ci95: Interval


@dataclass(frozen=True)
class Arm:
    """One way of answering the held-out questions; `label` fits a chart, `description` says what the library holds."""

    name: str  # "closed_book", "base", "writeback", "control_raw", "control_copies"
    label: str
    description: str
    n: int
    score: float
    ci95: Interval
    reworded: Score | None = None
    new_facts: Score | None = None


@dataclass(frozen=True)
class Gain:
    """A paired comparison on the same questions; `gain` and `ci95` are differences of scores, not percent."""

    name: str  # "gain", "gain_reworded", "gain_new_facts", "gain_over_control_raw", "gain_over_control_copies"
    label: str
    gain: float
    ci95: Interval
    p: float
    wins: int
    losses: int

    @property
    def sign(self) -> int:
        """+1 or -1 where both the interval and the p value (0.05) rule chance out, else 0."""
        if not self.p < 0.05:
            return 0
        return 1 if self.ci95[0] > 0 else -1 if self.ci95[1] < 0 else 0


@dataclass(frozen=True)
class Calls:
    """Generator calls made; what the paper's formula asks for; and how many of those were saved without loss."""

    made: int = 0
    formula: int = 0
    saved: int = 0


OTHER_ENDS = {
    "length": "cut at their limit",
    "empty": "empty",
    "thinking only": "thinking alone",
    "thinking stripped": "stripped of their thinking",
}


@dataclass(frozen=True)
class Funnel:
    """From labelled questions to published units."""

    examples: int = 0
    accepted: int = 0
    closed_book_suffices: int = 0
    retrieval_did_not_help: int = 0
    quarantined: int = 0
    units_shelved: int = 0
    units_merged: int = 0
    units_published: int = 0
    calls: Calls = Calls()
    retained_docs_mean: float = math.nan
    fallback_rate: float = math.nan  # share of the accepted whose documents were kept by rank, in [0, 1]
    compression_mean: float = math.nan  # source words per word of the unit
    ends: Mapping[str, int] = field(default_factory=dict)  # how the model's replies ended

    @property
    def replies(self) -> int:
        """Replies that ended in one way or another; one may have been stripped of thinking beside that."""
        return sum(count for name, count in self.ends.items() if name != "thinking stripped")

    @property
    def other_ends(self) -> str:
        """The ends of replies that were not whole, in words."""
        found = [f"{self.ends[name]:,} {said}" for name, said in OTHER_ENDS.items() if self.ends.get(name)]
        return ", ".join(found) or "none cut or empty"


@dataclass(frozen=True)
class SourcePassage:
    """An evidence sentence and the passage that it stands in."""

    sentence: str
    passage_id: str
    passage_title: str


@dataclass(frozen=True)
class ExampleUnit:
    question: str
    title: str
    text: str
    evidence: tuple[SourcePassage, ...] = ()


@dataclass(frozen=True)
class Context:
    """A passage that the model was given to read."""

    origin: Origin
    title: str
    text: str
    score: float


@dataclass(frozen=True)
class Changed:
    """A held-out question whose verdict differs between the base library and the trained one."""

    id: str
    half: HalfName
    question: str
    golden: tuple[str, ...]
    base_answer: str
    writeback_answer: str
    better: bool
    base_context: tuple[Context, ...] = ()
    writeback_context: tuple[Context, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """What it takes to repeat the run, and what it cost."""

    model: str = ""
    encoder: str = ""
    prompt_version: str = ""
    hardware: str = ""
    created_at: str = ""
    seeds: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    stages: tuple[tuple[str, float], ...] = ()  # name, seconds


@dataclass(frozen=True)
class Story:
    arms: tuple[Arm, ...] = ()
    gains: tuple[Gain, ...] = ()
    funnel: Funnel = Funnel()
    writeback_share: float = math.nan  # share of the top-k hits that are units, in [0, 1]
    retained_ranks: dict[int, int] = field(default_factory=dict)  # rank from 1 -> retained documents
    units: tuple[ExampleUnit, ...] = ()
    changed: tuple[Changed, ...] = ()
    diagnosis: Diagnosis | None = None  # of the labelled questions, over the base library
    provenance: Provenance = Provenance()
    metric: str = "accuracy"

    def arm(self, name: str) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)

    def gain(self, name: str) -> Gain | None:
        return next((gain for gain in self.gains if gain.name == name), None)

    @property
    def controls(self) -> list[Gain]:
        return [gain for gain in self.gains if gain.name.startswith("gain_over_")]

    def to_json(self) -> dict[str, Any]:
        """Strict JSON: a number that was not measured is null, and histogram ranks are string keys."""
        plain = asdict(self)
        plain["diagnosis"] = self.diagnosis.to_json() if self.diagnosis else None
        return _plain(plain)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value
