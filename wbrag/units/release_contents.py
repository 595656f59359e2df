"""Release contents: which units a release answers from.

They lie in shards that releases share: what two releases differ in is read from the shards that only one of them has.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.io.files import Location
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import read_passages
from wbrag.units.layout import Layout
from wbrag.units.releases import Release


def unit_ids(shard: Location) -> set[str]:
    """The ids of the units in a write-back shard."""
    return set(read_passages(shard)["id"].to_pylist())


def release_ids(layout: Layout, release: Release) -> frozenset[str]:
    """The ids of the units in a release's write-back shards."""
    return frozenset().union(*(unit_ids(layout.path / "index" / folder) for folder in folders(layout, release)))


def folders(layout: Layout, release: Release) -> list[str]:
    """The write-back shards of a release."""
    if not release.writeback_manifest:
        return []
    manifest = Manifest.read(layout.path / release.writeback_manifest, release.writeback_sha256)
    return [files.folder for files in manifest.shards]


def difference(layout: Layout, before: Release, after: Release) -> tuple[set[str], set[str]]:
    """The ids that `after` holds and `before` does not, and the other way round."""
    old, new = folders(layout, before), folders(layout, after)
    first = set[str]().union(*(unit_ids(layout.path / "index" / f) for f in old if f not in new))
    second = set[str]().union(*(unit_ids(layout.path / "index" / f) for f in new if f not in old))
    return second - first, first - second


def holders(layout: Layout, id: str, releases: Collection[Release]) -> list[str]:
    """The ids of those releases that hold the unit `id`."""
    known: dict[str, bool] = {}
    found = []
    for release in releases:
        for folder in folders(layout, release):
            if folder not in known:
                ids = read_passages(layout.path / "index" / folder)["id"]
                known[folder] = bool(pc.any(pc.equal(ids, pa.scalar(id, pa.string()))).as_py())
        if any(known[folder] for folder in folders(layout, release)):
            found.append(release.id)
    return found
