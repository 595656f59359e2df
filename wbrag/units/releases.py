"""Release log: append-only, one row names everything that answers are made from.

Rolling back appends another row; numbers, not clocks, order them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from wbrag.core.errors import WbragError
from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import Location, locked


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
    by: str = ""
    canary: str = ""  # the canary's report as JSON, where one was run
    retriever: str = ""  # a trained retriever's manifest, inside the workspace; "": the encoder alone
    retriever_sha256: str = ""

    @property
    def files(self) -> tuple[str, str, str, str]:
        """Equal for releases that answer alike."""
        return self.base_sha256, self.writeback_sha256, self.retriever_sha256, self.encoder

    @staticmethod
    def of_base(manifest: str, sha256: str, encoder: str) -> Release:
        """The base index alone, which is no row of the table."""
        return Release("none", 0, "none", "", "", "", manifest, sha256, "", "", -1, 0, encoder)


class Releases:
    """The releases table at `folder`; rows are only ever appended."""

    def __init__(self, folder: Location) -> None:
        self.log = AppendLog(folder, Release)

    def all(self) -> list[Release]:
        """Every release, oldest first."""
        return sorted(self.log.rows(), key=lambda r: r.number)

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
        """Add the next release. Raises `WbragError` where another one took its number meanwhile."""
        with locked(self.log.folder.with_suffix(".lock")):
            version = self.log.version
            latest = max((r.number for r in self.all()), default=0)
            if release.number != latest + 1:
                raise WbragError(
                    f"expected to add release {release_id(latest + 1)}, found {release.id}: another one was published "
                    "meanwhile; do it again"
                )
            self.log.append([release], after=version)
        return release

    def rollback(self, name: str, *, by: str = "", note: str = "") -> Release:
        """Append a release that answers exactly as `name` did; done again, as after a crash, it adds nothing."""
        target, latest = self.get(name), self.get("latest")
        if latest.action == "rollback" and latest.restores == target.id:
            return latest
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
                note=note or target.note,
                by=by,
            )
        )


def release_id(number: int) -> str:
    return f"r{number:04d}"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
