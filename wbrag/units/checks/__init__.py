"""Publication checks: what a unit must pass before it is published, one function each, over stored scores and texts.

A check sees a `CheckInput` and returns a `CheckResult`; none of them calls the generator (the round trip's answers are
scored in the enrichment pass, while the model is up), so that thresholds can be changed without a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Hit, Passage
from wbrag.enrich.enrich import WrittenUnit
from wbrag.units.checks.conflict import conflict
from wbrag.units.checks.dissent import dissent
from wbrag.units.checks.grounding import grounding
from wbrag.units.checks.instructions import instructions
from wbrag.units.checks.interface import Check, CheckInput, CheckResult, Neighbour, Nli, Span, Voice
from wbrag.units.checks.novelty import novelty
from wbrag.units.checks.recorded import leakage, round_trip
from wbrag.units.checks.sources import sources, trust, unit_trust

__all__ = [
    "CHECKS",
    "Check",
    "CheckInput",
    "CheckResult",
    "Neighbour",
    "Nli",
    "Span",
    "Voice",
    "passed",
    "run",
    "unit_trust",
    "worth_witnesses",
]

CHECKS: dict[str, Check] = {
    "grounding": grounding,
    "round_trip": round_trip,
    "leakage": leakage,
    "instructions": instructions,
    "novelty": novelty,
    "conflict": conflict,
    "trust": trust,
    "sources": sources,
    "dissent": dissent,
}
ALONE = ("grounding", "round_trip", "leakage", "instructions")  # need nothing but the unit and its sources


def run(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> list[CheckResult]:
    """What each enabled check finds, in the order of `CHECKS`."""
    return [check(subject, settings, nli) for name, check in CHECKS.items() if name in settings.enabled]


def worth_witnesses(settings: ChecksConfig, written: WrittenUnit, retained: Sequence[Hit]) -> bool:
    """Whether the enabled checks that need no model let a unit by, so that `dissent` may decide."""
    figures = ("s_unit", "s_kept", "answer_in_unit", "answer_in_sources")
    scores = {name: float(value) for name in figures if (value := getattr(written, name)) is not None}
    passages = tuple(Passage(hit.id, hit.title, hit.text) for hit in retained)
    subject = CheckInput(replace(written.unit, scores=scores), passages)
    asked = [name for name in ALONE if name in settings.enabled and not (name == "grounding" and settings.nli_model)]
    return passed(CHECKS[name](subject, settings, None) for name in asked)


def passed(results: Iterable[CheckResult]) -> bool:
    """Whether no check failed."""
    return all(result.passed for result in results)
