"""A workspace's index, shelf and releases, made with any encoder and without Ray."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from tests.support.pipeline import ITEMS
from wbrag.core.io.files import write_atomically
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Encoder, Vectors, encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import PASSAGES, build_once
from wbrag.retrieval.trained import TrainedRetriever
from wbrag.units.layout import Layout
from wbrag.units.publish import Stock, propose
from wbrag.units.releases import Release


class Encodes(Protocol):
    def encode_passages(self, contents: Sequence[str]) -> Vectors: ...


def contents(row: dict[str, str]) -> str:
    return f"{row['title']}\n{row['text']}"


def index(store: Layout, rows: list[dict[str, str]], vectors: Vectors, name: str = "base") -> None:
    """A base index of two shards, and the pointer to it."""
    half, dimension = len(rows) // 2, vectors.shape[1]
    shards = tuple(
        build_once(
            store.path / "index",
            f"{name}-{number}",
            "SQfp16",
            dimension,
            [(vectors[part], pa.Table.from_pylist(rows[part], PASSAGES))],
        )
        for number, part in enumerate((slice(0, half), slice(half, None)))
    )
    encoder = store.config.encoder
    manifest = Manifest(encoder_fingerprint(encoder), encoder.model, dimension, "SQfp16", shards)
    pointer = {"manifest": f"index/{name}-1.json", "corpus": "c"}
    pointer["sha256"] = manifest.write(store.path / "index" / f"{name}-1.json")
    write_atomically(store.path / "index" / "base.json", json.dumps(pointer))


def shelve(store: Layout, encoder: Encodes, units: Sequence[Unit]) -> None:
    vectors = encoder.encode_passages([unit.contents for unit in units])
    store.shelf.add(units, vectors, encoder_fingerprint(store.config.encoder), 0.9999)


def proposed(store: Layout, retriever: TrainedRetriever | None = None) -> Release:
    """The release of everything on the shelf: its files are there, its row is not."""
    _, path, digest = store.base()
    stock, history = Stock(store.shelf, store.shelf.version, store.shelf.ids()), store.releases.all()
    file = retriever.write(store.retrievers) if retriever else None
    return propose(store.config, store.path, stock, history, path, digest, retriever=file)


def facts(store: Layout) -> None:
    """One passage an item, a unit of the first, and the release that has both."""
    encoder = Encoder(store.config.encoder)
    rows = [
        {"id": f"p{i}", "title": f"Note {i}", "text": f"The code of {item} is k{i}."} for i, item in enumerate(ITEMS)
    ]
    index(store, rows, encoder.encode_passages([contents(row) for row in rows]))
    shelve(store, encoder, [Unit("u", f"The code of {ITEMS[0]} is k0.", ("q",), (("p0", "h"),), ())])
    published(store)


def published(store: Layout, retriever: TrainedRetriever | None = None) -> Release:
    return store.releases.append(proposed(store, retriever))
