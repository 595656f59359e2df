"""Releases: one appended row names everything that answers are made from. Rolling back appends another."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from wbrag.errors import WbragError

_text = pa.string()
RELEASES = pa.schema(
    [
        ("id", _text),
        ("number", pa.int64()),
        ("action", _text),
        ("created_at", _text),
        ("parent", _text),
        ("restores", _text),
        ("base_manifest", _text),
        ("base_sha256", _text),
        ("writeback_manifest", _text),
        ("writeback_sha256", _text),
        ("units_version", pa.int64()),
        ("units", pa.int64()),
        ("encoder", _text),
        ("note", _text),
    ]
)


@dataclass(frozen=True)
class Release:
    """One row of the releases table; manifests are paths inside the workspace, each with the sha256 of its file."""

    id: str
    number: int
    action: str  # "publish" or "rollback"
    created_at: str
    parent: str
    restores: str  # the release that a rollback went back to
    base_manifest: str
    base_sha256: str
    writeback_manifest: str
    writeback_sha256: str
    units_version: int
    units: int
    encoder: str
    note: str = ""


class Releases:
    """The releases table at `folder`; rows are only ever appended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[Release]:
        """Every release, oldest first."""
        if not DeltaTable.is_deltatable(str(self.folder)):
            return []
        rows = DeltaTable(str(self.folder)).to_pyarrow_table().to_pylist()
        return sorted((Release(**row) for row in rows), key=lambda r: r.number)

    def get(self, name: str) -> Release:
        """`latest`, or a release by its id."""
        releases = self.all()
        if name == "latest":
            if not releases:
                raise WbragError("expected a release, found none: run `wbrag publish` first, or use --release none")
            return releases[-1]
        for release in releases:
            if release.id == name:
                return release
        known = ", ".join(r.id for r in releases) or "none yet"
        raise WbragError(f"expected a release id, found {name!r}: choose one of {known}")

    def append(self, release: Release) -> Release:
        write_deltalake(str(self.folder), pa.Table.from_pylist([asdict(release)], RELEASES), mode="append")
        return release

    def rollback(self, name: str) -> Release:
        """Append a release that answers exactly as `name` did."""
        target, latest = self.get(name), self.get("latest")
        number = latest.number + 1
        return self.append(
            replace(
                target,
                id=release_id(number),
                number=number,
                action="rollback",
                created_at=now(),
                parent=latest.id,
                restores=target.id,
            )
        )


def release_id(number: int) -> str:
    return f"r{number:04d}"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
