"""The paper's equation 11: the unit alone answers its question as well as the documents that it was distilled from."""

from __future__ import annotations

from wbrag.core.sections import ChecksConfig
from wbrag.units.checks.subject import CheckInput, CheckResult, Nli


def round_trip(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """`s_unit >= s_kept - settings.round_trip`, both scored while the unit was distilled."""
    scores = subject.unit.scores
    if "s_unit" not in scores or "s_kept" not in scores:
        return CheckResult("round_trip", True, None, None, "not measured: nobody asked this unit its own question")
    unit, least = scores["s_unit"], scores["s_kept"] - settings.round_trip
    explanation = f"the question scores {unit:.2f} with the unit alone, {scores['s_kept']:.2f} with its documents"
    return CheckResult("round_trip", unit >= least - 1e-9, unit, least, explanation)
