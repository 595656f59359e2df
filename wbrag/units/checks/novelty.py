"""Novelty check: a unit repeats no passage and no other unit, by the cosine of their vectors.

A repetition would take a place among the hits and bring nothing.
"""

from __future__ import annotations

from wbrag.core.sections import ChecksConfig
from wbrag.units.checks.interface import CheckInput, CheckResult, Nli

INACTIVE = frozenset({"rejected", "retired", "stale"})  # units in these states are in no release


def novelty(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """The largest cosine to a passage or to a unit that stands is below `settings.novelty`."""
    others = [n for n in subject.neighbours if n.id != subject.unit.id and n.state not in INACTIVE]
    if not others:
        return CheckResult("novelty", True, 0.0, settings.novelty, "nothing near it")
    nearest = max(others, key=lambda n: n.cosine)
    named = f"{nearest.kind} {nearest.id} ({nearest.title})"
    if nearest.cosine >= settings.novelty:
        return CheckResult("novelty", False, nearest.cosine, settings.novelty, f"repeats {named}")
    return CheckResult("novelty", True, nearest.cosine, settings.novelty, f"nearest is {named}")
