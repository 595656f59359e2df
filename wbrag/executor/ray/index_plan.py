"""Index plan: which passages are to be embedded and which shards to be built, before any model starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from wbrag.core.config import Config
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, file_in_one_step, write_atomically
from wbrag.executor.ray.corpus_blocks import CorpusBlock, Piece, Shares, digest, new_pieces, part_keys, plan, share
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.build import learns, runs
from wbrag.retrieval.index.manifest import SHARES, TRAINED, ShardFiles
from wbrag.retrieval.index.shard import finished
from wbrag.retrieval.index.vector_store import Keys, VectorStore, load

OUTGROWN = 4  # times the passages that an index has learnt from, and it learns anew
BLOCKS = 4  # times those that would hold the sample: it is taken from so many


@dataclass(frozen=True, eq=False)
class Wanted:
    """A shard that is to be built: its name, blocks and their keys [n, 2], and what of them is to be embedded first."""

    name: str
    blocks: list[CorpusBlock]
    keys: Keys
    pieces: list[Piece]


@dataclass(frozen=True)
class Training:
    """An empty index that learns once for all shards: its name, and how many passages there were when it did."""

    name: str
    encoder: str
    factory: str
    passages: int


@dataclass(frozen=True, eq=False)
class IndexPlan:
    """The shards of an index by number: those that are there, and those that are not."""

    blocks: list[list[CorpusBlock]]
    files: dict[int, ShardFiles]
    wanted: dict[int, Wanted]
    training: Training | None  # what its new shards share, where their kind learns from vectors

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
    described = _described(root)
    last = described.get("shares")
    blocks = share(plan(corpus, c.block_rows, c.shards, last), c.shards, last)
    training = None if not learns(c.factory) else _training(encoder, c.factory, keys, root, described.get("training"))
    files, wanted = dict[int, ShardFiles](), dict[int, Wanted]()
    for number, mine in enumerate(blocks):
        rows = np.concatenate([keys[block.place[0]][block.start : block.stop] for block in mine])
        made_of = encoder, c.factory, digest(rows[:, 2:])
        alone = f"base-{fingerprint(*made_of)}"  # with lists of its own, as shards were until they shared them
        name = f"base-{fingerprint(*made_of, training.name)}" if training else alone
        if there := finished(root, alone) or finished(root, name):
            files[number] = there
        else:
            own = rows[:, :2]
            pieces = list(new_pieces(mine, own, store.places(own).known, c.block_rows))
            wanted[number] = Wanted(name, mine, own, pieces)
    return IndexPlan(blocks, files, wanted, training)


def _described(root: Location) -> dict[str, Any]:
    """What `describe` wrote of the last index."""
    file = root / SHARES
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def describe(root: Location, manifest: str, found: IndexPlan) -> None:
    """Write down which blocks the shards of an index are made of, and what they share."""
    training = asdict(found.training) if found.training else None
    said = {"manifest": manifest, "shares": found.shares} | ({"training": training} if training else {})
    write_atomically(root / SHARES, json.dumps(said) + "\n")


def _training(
    encoder: str, factory: str, keys: Mapping[str, Any], root: Location, last: dict[str, Any] | None
) -> Training:
    """That of the last index, so that shards stay what they are, unless the corpus has outgrown it."""
    passages = sum(map(len, keys.values()))
    if last and (last["encoder"], last["factory"]) == (encoder, factory) and passages <= OUTGROWN * last["passages"]:
        was = Training(**last)
        if finished(root, was.name):
            return was
    contents = [digest(keys[name][:, 2:]) for name in sorted(keys)]
    return Training(f"{TRAINED}{fingerprint(encoder, factory, contents)}", encoder, factory, passages)


def sampled(blocks: Sequence[CorpusBlock], keys: Mapping[str, Any], wanted: int) -> tuple[list[CorpusBlock], Keys]:
    """Some of `blocks`, spread over their rows, and the keys [n, 2] of about `wanted` passages of these.

    Whole blocks, since they are embedded first; from them runs of rows, since neighbours are alike.
    """
    ends = np.cumsum([block.rows for block in blocks])
    picks, chosen = 1, list(blocks)
    while picks < len(blocks):
        rows = np.linspace(0, ends[-1] - 1, picks).astype(np.int64)
        found = [blocks[i] for i in np.unique(np.searchsorted(ends, rows, "right"))]
        if sum(block.rows for block in found) >= min(ends[-1], BLOCKS * wanted):
            chosen = found
            break
        picks *= 2
    own = np.concatenate([keys[block.place[0]][block.start : block.stop, :2] for block in chosen])
    return chosen, np.concatenate([own[start:stop] for start, stop in runs(len(own), wanted)])


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
