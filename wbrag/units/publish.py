"""Release files: the next release, with units that no shard holds yet in one more shard beside the base index.

Shards and manifests are immutable and named by their contents; the release's row is the publisher's to append.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from wbrag.core.config import Config
from wbrag.core.errors import WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, inside, locked, sha256_of
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest, ShardFiles
from wbrag.retrieval.index.shard import PASSAGES, Block, build_once
from wbrag.retrieval.index.words import with_keywords
from wbrag.units.labels import Label, shard_labels
from wbrag.units.release_contents import shard_ids
from wbrag.units.releases import Release, now, release_id
from wbrag.units.stored import vectors_of
from wbrag.units.table import BLOCK, UnitTable


class Stock(NamedTuple):
    """The units that a release is to hold, by their ids in order; read from the shelf as of `version` when wanted.

    `labels`: who may see them, and their metadata, of those for which there is something to say.
    """

    shelf: UnitTable
    version: int
    ids: Sequence[str]
    labels: Mapping[str, Label] = {}

    def dimension(self) -> int:
        return len(self.shelf.read(self.ids[:1], self.version)[0].vector)

    def blocks(self, ids: Sequence[str]) -> Iterator[Block]:
        """Vectors [n, d] and texts of those of its units that `ids` name, in their order."""
        for start in range(0, len(ids), BLOCK):
            rows = self.shelf.table([*PASSAGES.names, "vector"], ids[start : start + BLOCK], self.version)
            yield np.stack(vectors_of(rows)), self._labelled(rows.select(PASSAGES.names))

    def _labelled(self, rows: pa.Table) -> pa.Table:
        if not self.labels:
            return rows
        found = [self.labels.get(id, Label()) for id in rows["id"].to_pylist()]
        access = pa.array([label.access or None for label in found], pa.string())
        metadata = pa.array([label.metadata or None for label in found], pa.string())
        return rows.append_column("access", access).append_column("metadata", metadata)

    def labels_among(self, ids: Collection[str]) -> dict[str, Label]:
        return {id: self.labels[id] for id in ids if id in self.labels}


def propose(
    config: Config,
    workspace: Location,
    stock: Stock,
    history: list[Release],
    base_manifest: Location | None,
    base_sha256: str,
    *,
    retriever: Location | None = None,
    note: str = "",
    by: str = "",
) -> Release:
    """The next release: the units of `stock` beside the base index, its files written, its row not yet appended.

    `base_manifest` is None where the base is an outside store, which `base_sha256` then names. `retriever` is the
    manifest of a trained one, None for the encoder alone.
    What is already published is not indexed again. Where the latest release answers from the same files, that one is
    returned. Without units and a retriever there is a release only after another one, to take its units back.
    """
    latest = history[-1] if history else None
    if not stock.ids and latest is None and retriever is None:
        raise WbragError(
            "expected approved units on the shelf, found none: run `wbrag enrich`, or approve units with `wbrag units`"
        )
    encoder = encoder_fingerprint(config.encoder)
    base = None if base_manifest is None else Manifest.read(base_manifest, base_sha256)
    if base is not None:
        if base.encoder != encoder:
            raise WbragError(
                f"expected an index of encoder {config.encoder.model!r}, found one of {base.encoder_model!r}: "
                "index again"
            )
        dimension = base.dimension
    elif stock.ids:
        dimension = stock.dimension()
    else:
        assert latest is not None
        dimension = Manifest.read(workspace / latest.writeback_manifest, latest.writeback_sha256).dimension
    if not set(stock.shelf.of_another_encoder(encoder, stock.version)).isdisjoint(stock.ids):
        raise WbragError("expected units with vectors of the present encoder, found others: run `wbrag publish`")
    root = workspace / "index"
    with locked(root / "writeback.lock"):  # of two that build one shard, the second would take it from the first
        _sweep(root)
        old = _reusable(workspace, latest, stock, encoder)
        shards = _shards(config, root, old, stock, dimension)
        manifest = Manifest(encoder, config.encoder.model, dimension, "SQfp16", shards)
        if config.retrieval.hybrid and base is not None:
            manifest = with_keywords(root, manifest, base)
        path = root / f"writeback-{manifest.name}.json"
        digest = manifest.write(path)
    number = latest.number + 1 if latest else 1
    release = Release(
        release_id(number),
        number,
        "publish",
        now(),
        latest.id if latest else "",
        "",
        "" if base_manifest is None else inside(base_manifest, workspace),
        base_sha256,
        inside(path, workspace),
        digest,
        stock.version,
        len(stock.ids),
        encoder,
        note,
        by,
        retriever="" if retriever is None else inside(retriever, workspace),
        retriever_sha256="" if retriever is None else sha256_of(retriever),
    )
    return latest if latest and answers_alike(latest, release) else release


def answers_alike(a: Release, b: Release) -> bool:
    """Whether two releases answer from the same files."""
    return a.files == b.files


def _sweep(root: Location) -> None:
    """Remove what killed builds left aside: whoever holds the lock is the only one who builds."""
    if not isinstance(root, Path):  # built on this machine, and uploaded under its own name
        return
    for stray in [*root.glob(".units-*"), *root.glob(".writeback-*")]:
        if stray.is_dir():
            shutil.rmtree(stray)
        else:
            stray.unlink()


def _reusable(
    workspace: Location, latest: Release | None, stock: Stock, encoder: str
) -> list[tuple[ShardFiles, set[str]]]:
    """The latest release's shards with their unit ids, as long as all of those units are there, for the same people."""
    if latest is None or latest.encoder != encoder:
        return []
    manifest = Manifest.read(workspace / latest.writeback_manifest, latest.writeback_sha256)
    ids = set(stock.ids)
    root = workspace / "index"
    shards = [(files, shard_ids(root / files.folder).to_pylist()) for files in manifest.shards]
    return [
        (files, set(held))
        for files, held in shards
        if ids.issuperset(held) and shard_labels(root, files, held) == stock.labels_among(held)
    ]


def _shards(
    config: Config, root: Location, old: list[tuple[ShardFiles, set[str]]], stock: Stock, dimension: int
) -> tuple[ShardFiles, ...]:
    held = set[str]().union(*(ids for _, ids in old))
    fresh = [id for id in stock.ids if id not in held]
    if not fresh:
        return tuple(files for files, _ in old)
    if len(old) >= config.publish.max_writeback_shards:  # many small shards cost a search each: write them into one
        old, fresh = [], list(stock.ids)
    labels = sorted(stock.labels_among(fresh).items())
    name = f"units-{fingerprint(encoder_fingerprint(config.encoder), fresh, *([labels] if labels else []))}"
    made = build_once(root, name, "SQfp16", dimension, stock.blocks(fresh), len(fresh))
    return (*(files for files, _ in old), made)
