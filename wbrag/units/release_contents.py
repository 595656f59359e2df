"""Release contents: which units a release answers from.

They lie in shards that releases share: what two releases differ in is read from the shards that only one of them has.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import read_passages
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

GONE = "let go of: choose a later release, or approve its units again and publish"


def unit_ids(shard: Location) -> set[str]:
    """The ids of the units in a write-back shard. Raises `WbragError` where it was let go of."""
    return set(shard_ids(shard).to_pylist())


@lru_cache(maxsize=64)  # shards never change; a page asks for the same ones again and again
def shard_ids(shard: Location) -> pa.Array:
    """The same as Arrow keeps them."""
    if not (shard / "passages.arrow").is_file():
        raise WbragError(f"expected units of a release in {shard}, found them {GONE}")
    return read_passages(shard)["id"].combine_chunks()


def release_ids(layout: Layout, release: Release) -> frozenset[str]:
    """The ids of the units in a release's write-back shards."""
    return frozenset().union(*(unit_ids(layout.path / "index" / folder) for folder in folders(layout, release)))


def folders(layout: Layout, release: Release) -> tuple[str, ...]:
    """The write-back shards of a release."""
    if not release.writeback_manifest:
        return ()
    return _folders(layout.path / release.writeback_manifest, release.writeback_sha256)


@lru_cache(maxsize=1000)
def _folders(manifest: Location, sha256: str) -> tuple[str, ...]:
    return tuple(files.folder for files in Manifest.read(manifest, sha256).shards)


def difference(layout: Layout, before: Release, after: Release) -> tuple[set[str], set[str]]:
    """The ids that `after` holds and `before` does not, and the other way round."""
    old, new = folders(layout, before), folders(layout, after)
    first = set[str]().union(*(unit_ids(layout.path / "index" / f) for f in old if f not in new))
    second = set[str]().union(*(unit_ids(layout.path / "index" / f) for f in new if f not in old))
    return second - first, first - second


def holders(layout: Layout, id: str, releases: Collection[Release]) -> list[str]:
    """The ids of those releases that hold the unit `id`, as far as their shards are there."""
    wanted, held = pa.scalar(id, pa.string()), dict[str, bool]()
    found = []
    for release in releases:
        mine = folders(layout, release)
        for folder in set(mine) - held.keys():
            ids = known_ids(layout, folder)
            held[folder] = ids is not None and bool(pc.any(pc.equal(ids, wanted)).as_py())
        if any(held[folder] for folder in mine):
            found.append(release.id)
    return found


def known_ids(layout: Layout, folder: str) -> pa.Array | None:
    """The ids in a write-back shard; None where it was let go of."""
    try:
        return shard_ids(layout.path / "index" / folder)
    except WbragError:
        return None


def still_there(layout: Layout, release: Release) -> None:
    """Raises `WbragError` where files that `release` answers from are gone."""
    root = layout.path / "index"
    for path, sha256 in ((release.base_manifest, release.base_sha256), _units_of(release)):
        if path:
            there = (layout.path / path).is_file()
            shards = Manifest.read(layout.path / path, sha256).shards if there else ()
            if not there or not all((root / s.folder / name).is_file() for s in shards for name in s.sha256):
                raise WbragError(f"expected the files that {release.id} answers from, found some of them {GONE}")


def _units_of(release: Release) -> tuple[str, str]:
    return release.writeback_manifest, release.writeback_sha256
