"""Index plan: which passages are to be embedded and which shards to be built, before any model starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from wbrag.core.config import Config
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, file_in_one_step
from wbrag.executor.ray.corpus_blocks import CorpusBlock, Piece, Shares, digest, new_pieces, part_keys, plan, share
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.manifest import ShardFiles
from wbrag.retrieval.index.shard import finished
from wbrag.retrieval.index.vector_store import Keys, VectorStore, load

SHARES = "shares.json"  # beside the shards: which blocks of the corpus each is made of


@dataclass(frozen=True, eq=False)
class Wanted:
    """A shard that is to be built: its name, blocks and their keys [n, 2], and what of them is to be embedded first."""

    name: str
    blocks: list[CorpusBlock]
    keys: Keys
    pieces: list[Piece]


@dataclass(frozen=True, eq=False)
class IndexPlan:
    """The shards of an index by number: those that are there, and those that are not."""

    blocks: list[list[CorpusBlock]]
    files: dict[int, ShardFiles]
    wanted: dict[int, Wanted]

    @cached_property
    def passages(self) -> int:
        return sum(block.rows for mine in self.blocks for block in mine)

    @cached_property
    def new(self) -> int:
        """Passages that are to be embedded."""
        return sum(len(piece.keys) for one in self.wanted.values() for piece in one.pieces)

    @property
    def shares(self) -> Shares:
        """What the next plan is told, so that blocks stay in their shards."""
        return [[block.place for block in mine] for mine in self.blocks]

    def said(self) -> str:
        shards = f"{len(self.wanted)} of {len(self.blocks)} shards to build"
        return f"{self.passages:,} passages: {self.new:,} to embed; {shards}"


def plan_index(
    config: Config, corpus: Location, keys: Mapping[str, Any], store: VectorStore, root: Location
) -> IndexPlan:
    """`keys` are those of the passages [n, 4] of each of the corpus's files, `store` has the vectors that are there."""
    c, encoder = config.index, encoder_fingerprint(config.encoder)
    last = _last_shares(root)
    blocks = share(plan(corpus, c.block_rows, c.shards, last), c.shards, last)
    files, wanted = dict[int, ShardFiles](), dict[int, Wanted]()
    for number, mine in enumerate(blocks):
        rows = np.concatenate([keys[block.place[0]][block.start : block.stop] for block in mine])
        name = f"base-{fingerprint(encoder, c.factory, digest(rows[:, 2:]))}"
        if there := finished(root, name):
            files[number] = there
        else:
            own = rows[:, :2]
            pieces = list(new_pieces(mine, own, store.places(own).known, c.block_rows))
            wanted[number] = Wanted(name, mine, own, pieces)
    return IndexPlan(blocks, files, wanted)


def _last_shares(root: Location) -> Shares | None:
    """Which blocks the shards of the last index were made of."""
    file = root / SHARES
    return json.loads(file.read_text(encoding="utf-8"))["shares"] if file.is_file() else None


def missing_keys(parts: Mapping[str, str], kept: Location) -> dict[str, Location]:
    """Files of the corpus (`parts`: names and sha256) whose keys are not in `kept`, and where they are to be."""
    kept.mkdir(parents=True, exist_ok=True)
    files = {name: kept / f"{sha256}.npy" for name, sha256 in parts.items()}
    return {name: file for name, file in files.items() if not file.is_file()}


def keep_keys(part: Location, file: Location) -> None:
    """Work out the keys of a file of the corpus."""
    with file_in_one_step(file) as scratch, scratch.open("wb") as out:
        np.save(out, part_keys(str(part)), allow_pickle=False)


def kept_keys(parts: Mapping[str, str], kept: Location) -> dict[str, Any]:
    """The keys of each file of the corpus, mapped from disk where that is local."""
    return {name: load(kept / f"{sha256}.npy") for name, sha256 in parts.items()}
