"""Publishing: units that no earlier release holds become one more immutable shard, then one row is appended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from wbrag.config import Config, fingerprint
from wbrag.errors import WbragError
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.manifest import Manifest, ShardFiles
from wbrag.retrieval.shard import PASSAGES, build_once
from wbrag.shelf.releases import Release, Releases, now, release_id
from wbrag.shelf.units import Shelf, Shelved


def publish(
    config: Config,
    workspace: Path,
    shelf: Shelf,
    releases: Releases,
    base_manifest: Path,
    base_sha256: str,
    note: str = "",
) -> Release:
    """A release of everything on the shelf beside the base index; what is already published is not indexed again.

    Where nothing has changed since the latest release, that one is returned and no row is appended.
    """
    version = shelf.version
    stock = shelf.read(version if version >= 0 else None)
    if not stock:
        raise WbragError("expected units on the shelf, found none: run `wbrag enrich` first")
    base = Manifest.read(base_manifest, base_sha256)
    encoder = encoder_fingerprint(config.encoder)
    if base.encoder != encoder:
        raise WbragError(
            f"expected an index of encoder {config.encoder.model!r}, found one of {base.encoder_model!r}: index again"
        )
    history = releases.all()
    root = workspace / "index"
    old = _reusable(workspace, history[-1] if history else None, stock, encoder)
    manifest = Manifest(
        encoder, config.encoder.model, base.dimension, "SQfp16", _shards(config, root, old, stock, base.dimension)
    )
    number = history[-1].number + 1 if history else 1
    path = root / f"writeback-{fingerprint([s.sha256 for s in manifest.shards])}.json"
    release = Release(
        release_id(number),
        number,
        "publish",
        now(),
        history[-1].id if history else "",
        "",
        str(base_manifest.relative_to(workspace)),
        base_sha256,
        str(path.relative_to(workspace)),
        manifest.write(path),
        version,
        len(stock),
        encoder,
        note,
    )
    return history[-1] if history and answers_alike(history[-1], release) else releases.append(release)


def answers_alike(a: Release, b: Release) -> bool:
    """Whether two releases answer from the same files."""
    return (a.base_sha256, a.writeback_sha256, a.encoder) == (b.base_sha256, b.writeback_sha256, b.encoder)


def _reusable(
    workspace: Path, latest: Release | None, stock: list[Shelved], encoder: str
) -> list[tuple[ShardFiles, set[str]]]:
    """The latest release's shards with their unit ids, as long as every one of those units is still on the shelf."""
    if latest is None or latest.encoder != encoder:
        return []
    manifest = Manifest.read(workspace / latest.writeback_manifest, latest.writeback_sha256)
    ids = {s.unit.id for s in stock}
    shards = [(files, unit_ids(workspace / "index" / files.folder)) for files in manifest.shards]
    return [(files, held) for files, held in shards if held <= ids]


def _shards(
    config: Config, root: Path, old: list[tuple[ShardFiles, set[str]]], stock: list[Shelved], dimension: int
) -> tuple[ShardFiles, ...]:
    if len(old) >= config.publish.max_writeback_shards:
        old = []  # many small shards cost a search each: write them into one
    held = set[str]().union(*(ids for _, ids in old))
    fresh = [s for s in stock if s.unit.id not in held]
    if not fresh:
        return tuple(files for files, _ in old)
    vectors = np.array([s.vector for s in fresh], dtype=np.float32)
    passages = pa.Table.from_pylist(
        [{"id": s.unit.id, "title": s.unit.title, "text": s.unit.text} for s in fresh], PASSAGES
    )
    name = f"units-{fingerprint(encoder_fingerprint(config.encoder), [s.unit.id for s in fresh])}"
    return (*(files for files, _ in old), build_once(root, name, "SQfp16", dimension, [(vectors, passages)]))


def unit_ids(shard: Path) -> set[str]:
    """The ids of the units in a write-back shard."""
    with pa.memory_map(str(shard / "passages.arrow")) as source:
        return set(pa.ipc.open_file(source).read_all()["id"].to_pylist())
