"""The paper's equation 11: the unit alone answers its question as well as the documents that it was distilled from."""

from __future__ import annotations

from wbrag.core.sections import ChecksConfig
from wbrag.units.checks.subject import Checked, Nli, Subject


def round_trip(subject: Subject, settings: ChecksConfig, nli: Nli | None = None) -> Checked:
    """`s_unit >= s_kept - settings.round_trip`, both scored while the unit was distilled."""
    scores = subject.unit.scores
    if "s_unit" not in scores or "s_kept" not in scores:
        return Checked("round_trip", True, None, None, "not measured: nobody asked this unit its own question")
    unit, least = scores["s_unit"], scores["s_kept"] - settings.round_trip
    explanation = f"the question scores {unit:.2f} with the unit alone, {scores['s_kept']:.2f} with its documents"
    return Checked("round_trip", unit >= least - 1e-9, unit, least, explanation)
