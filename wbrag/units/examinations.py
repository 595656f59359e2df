"""Check results: append-only, one row per examination of a unit; its newest row counts.

A row's fingerprint names what the examination depended on, so that one made under other settings is seen as outdated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import pyarrow.compute as pc

from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import Location
from wbrag.core.io.schemas import from_table
from wbrag.units.checks import CheckResult
from wbrag.units.releases import now

FAILED = '"passed": false'  # of a result in its JSON; in a text inside it the marks are escaped


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


class Finding(NamedTuple):
    """Of one examination: its fingerprint, and the names of the checks that the unit failed."""

    fingerprint: str
    failed: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failed


def _failed(results: str) -> tuple[str, ...]:
    return tuple(sys.intern(result["name"]) for result in json.loads(results) if not result["passed"])


class Examinations:
    """The checks table at `folder`; rows are only ever appended."""

    def __init__(self, folder: Location) -> None:
        self.log = AppendLog(folder, Examination)

    def latest(self, ids: Collection[str]) -> dict[str, Examination]:
        """The newest examination of each of the units that `ids` name and that were examined."""
        found = from_table(Examination, self.log.select("unit_id", ids))
        return {examined.unit_id: examined for examined in sorted(found, key=lambda examined: examined.number)}

    def findings(self) -> dict[str, Finding]:
        """What the newest examination of every unit found; of those that passed, no result becomes an object."""
        found: dict[str, tuple[int, Finding]] = {}
        for piece in self.log.scanned(["number", "unit_id", "fingerprint", "results"]):
            failed = pc.match_substring(piece.column("results"), FAILED).to_pylist()
            numbers, ids, tags = (piece.column(at).to_pylist() for at in range(3))
            for row, (number, id, tag) in enumerate(zip(numbers, ids, tags, strict=True)):
                if id not in found or (number or 0) >= found[id][0]:
                    names = _failed(piece.column("results")[row].as_py()) if failed[row] else ()
                    found[id] = number or 0, Finding(tag, names)
        return {id: finding for id, (_, finding) in found.items()}

    def all(self) -> list[Examination]:
        """Every examination, oldest first."""
        return sorted(self.log.rows(), key=lambda examined: examined.number)

    def add(self, found: Mapping[str, Sequence[CheckResult]], fingerprints: Mapping[str, str]) -> None:
        """One row a unit, in one commit; `fingerprints` say what each examination depended on."""
        number, at = self.log.next_number(), now()
        self.log.append(
            Examination(id, at, fingerprints[id], tuple(results), number=number) for id, results in found.items()
        )
