"""A unit says what its sources said when it was written: they have to be there still, and unchanged."""

from __future__ import annotations

from wbrag.core.sections import ChecksConfig
from wbrag.units.checks.subject import CheckInput, CheckResult, Nli


def sources(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """Every source stands in the corpus with the text that the unit was distilled from."""
    present = {passage.id: passage.content_hash for passage in subject.sources}
    gone = [id for id, _ in subject.unit.sources if id not in present]
    changed = [id for id, digest in subject.unit.sources if present.get(id, digest) != digest]
    if gone or changed:
        what = [f"{', '.join(ids)} {verb}" for ids, verb in ((gone, "gone"), (changed, "changed")) if ids]
        return CheckResult("sources", False, None, None, f"{' and '.join(what)}: `wbrag refresh` distils it again")
    return CheckResult("sources", True, None, None, "they stand as they were read")
