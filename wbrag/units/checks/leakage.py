"""An answer that stands in the unit and in none of its sources came from a label or from the model's memory."""

from __future__ import annotations

from wbrag.core.sections import ChecksConfig
from wbrag.units.checks.subject import CheckInput, CheckResult, Nli


def leakage(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """Reads the audit that enrichment made (`wbrag.enrich.leakage_audit`); closed label sets have none."""
    scores = subject.unit.scores
    if "answer_in_unit" not in scores or "answer_in_sources" not in scores:
        return CheckResult("leakage", True, None, None, "not measured: no open answer to look for")
    if scores["answer_in_unit"] and not scores["answer_in_sources"]:
        return CheckResult("leakage", False, 1.0, 0.0, "the answer stands in the unit and in none of its sources")
    return CheckResult("leakage", True, 0.0, 0.0, "no answer that its sources do not hold")
