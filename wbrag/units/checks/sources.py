"""Source checks: a unit's sources are there, unchanged, and trusted enough.

They are seen as they stand in the corpus now; one that has gone is not seen at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Passage, Unit
from wbrag.units.checks.interface import CheckInput, CheckResult, Nli


def sources(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """Every source stands in the corpus with the text that the unit was distilled from."""
    present = {passage.id: passage.content_hash for passage in subject.sources}
    gone = [id for id, _ in subject.unit.sources if id not in present]
    changed = [id for id, digest in subject.unit.sources if present.get(id, digest) != digest]
    if gone or changed:
        what = [f"{', '.join(ids)} {verb}" for ids, verb in ((gone, "gone"), (changed, "changed")) if ids]
        return CheckResult("sources", False, None, None, f"{' and '.join(what)}: `wbrag refresh` distils it again")
    return CheckResult("sources", True, None, None, "they stand as they were read")


def trust(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """The lowest trust among the present sources is at least `settings.min_trust`."""
    if not subject.sources:
        return CheckResult("trust", False, 0.0, settings.min_trust, "none of its sources is in the corpus any more")
    least = unit_trust(subject.sources, settings)
    weakest = min(subject.sources, key=lambda passage: passage_trust(passage, settings))
    named = f" ({weakest.source})" if weakest.source else ""
    explanation = f"its least trusted source, {weakest.id}{named}, has trust {least:g}"
    return CheckResult("trust", least >= settings.min_trust, least, settings.min_trust, explanation)


def origins(unit: Unit, sources: Iterable[Passage]) -> set[str]:
    """The names of those of `sources` that the unit is drawn from."""
    return {passage.source for passage in sources if passage.id in unit.drawn_from}


def unit_trust(sources: Iterable[Passage], settings: ChecksConfig) -> float:
    """The lowest trust of `sources`, by source name where the settings give one; 0 where there is no source."""
    return min((passage_trust(passage, settings) for passage in sources), default=0.0)


def passage_trust(passage: Passage, settings: ChecksConfig) -> float:
    """By its source's name where the settings give one, else its own."""
    return settings.source_trust.get(passage.source, passage.trust)
