"""Check results: append-only, one row per examination of a unit; its newest row counts.

A row's fingerprint names what the examination depended on, so that one made under other settings is seen as outdated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import Location
from wbrag.units.checks import CheckResult, Span
from wbrag.units.releases import now

_text = pa.string()
CHECKS = pa.schema(
    [("number", pa.int64()), ("unit_id", _text), ("at", _text), ("fingerprint", _text), ("results", _text)]
)


@dataclass(frozen=True)
class Examination:
    """One examination of a unit. `fingerprint` names the settings and the corpus that it was made under."""

    unit_id: str
    at: str
    fingerprint: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        return tuple(result for result in self.results if not result.passed)


class Examinations:
    """The checks table at `folder`; rows are only ever appended."""

    def __init__(self, folder: Location) -> None:
        self.log = AppendLog(folder, CHECKS)

    def latest(self) -> dict[str, Examination]:
        """The newest examination of every unit that was examined."""
        return {examined.unit_id: examined for examined in self.all()}

    def all(self) -> list[Examination]:
        """Every examination, oldest first."""
        return [_from_row(row) for row in sorted(self.log.rows(), key=lambda row: row["number"])]

    def add(self, found: Mapping[str, Sequence[CheckResult]], fingerprints: Mapping[str, str]) -> None:
        """One row a unit, in one commit; `fingerprints` say what each examination depended on."""
        number, at = self.log.version + 1, now()
        self.log.append(
            {
                "number": number,
                "unit_id": id,
                "at": at,
                "fingerprint": fingerprints[id],
                "results": json.dumps([asdict(result) for result in results]),
            }
            for id, results in found.items()
        )


def _from_row(row: Mapping[str, Any]) -> Examination:
    results = tuple(
        CheckResult(**{**result, "spans": tuple(Span(**span) for span in result["spans"])})
        for result in json.loads(row["results"])
    )
    return Examination(row["unit_id"], row["at"], row["fingerprint"], results)
