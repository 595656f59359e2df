"""Leakage check and round-trip check: over figures that enrichment recorded with the unit, while the model was up.

A unit that lacks the figures passes: they were not measured for it.
"""

from __future__ import annotations

from wbrag.core.sections import ChecksConfig
from wbrag.units.checks.interface import CheckInput, CheckResult, Nli


def leakage(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """An answer that stands in the unit and in none of its sources came from a label or from the model's memory.

    Reads the audit that enrichment made (`wbrag.enrich.leakage_audit`); closed label sets have none.
    """
    scores = subject.unit.scores
    if "answer_in_unit" not in scores or "answer_in_sources" not in scores:
        return CheckResult("leakage", True, None, None, "not measured: no open answer to look for")
    if scores["answer_in_unit"] and not scores["answer_in_sources"]:
        return CheckResult("leakage", False, 1.0, 0.0, "the answer stands in the unit and in none of its sources")
    return CheckResult("leakage", True, 0.0, 0.0, "no answer that its sources do not hold")


def round_trip(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """The paper's equation 11: the unit alone answers its question as well as the documents it was distilled from.

    `s_unit >= s_kept - settings.round_trip`, both scored while the unit was distilled.
    """
    scores = subject.unit.scores
    if "s_unit" not in scores or "s_kept" not in scores:
        return CheckResult("round_trip", True, None, None, "not measured: nobody asked this unit its own question")
    unit, least = scores["s_unit"], scores["s_kept"] - settings.round_trip
    explanation = f"the question scores {unit:.2f} with the unit alone, {scores['s_kept']:.2f} with its documents"
    return CheckResult("round_trip", unit >= least - 1e-9, unit, least, explanation)
