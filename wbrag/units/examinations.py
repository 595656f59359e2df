"""Check results: append-only, one row per examination of a unit; its newest row counts.

A row's fingerprint names what the examination depended on, so that one made under other settings is seen as outdated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import Location
from wbrag.units.checks import CheckResult
from wbrag.units.releases import now


@dataclass(frozen=True)
class Examination:
    """One examination of a unit. `fingerprint` names the settings and the corpus that it was made under."""

    number: int = field(default=0, kw_only=True, compare=False)  # the order of writing, whatever the clock said
    unit_id: str
    at: str
    fingerprint: str
    results: Annotated[tuple[CheckResult, ...], "json"]

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        return tuple(result for result in self.results if not result.passed)


class Examinations:
    """The checks table at `folder`; rows are only ever appended."""

    def __init__(self, folder: Location) -> None:
        self.log = AppendLog(folder, Examination)

    def latest(self) -> dict[str, Examination]:
        """The newest examination of every unit that was examined."""
        return {examined.unit_id: examined for examined in self.all()}

    def all(self) -> list[Examination]:
        """Every examination, oldest first."""
        return sorted(self.log.rows(), key=lambda examined: examined.number)

    def add(self, found: Mapping[str, Sequence[CheckResult]], fingerprints: Mapping[str, str]) -> None:
        """One row a unit, in one commit; `fingerprints` say what each examination depended on."""
        number, at = self.log.next_number(), now()
        self.log.append(
            Examination(id, at, fingerprints[id], tuple(results), number=number) for id, results in found.items()
        )
