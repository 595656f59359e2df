"""Term counts of a shard, and the statistics of a whole corpus that BM25 weighs them with.

Every shard is counted for itself; what must be the same for all of them is added up once.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wbrag.core.io.files import Location, digests, folder_in_one_step
from wbrag.retrieval.keywords.terms import numbers, terms

Array = npt.NDArray[Any]
PIECE = 8192  # passages whose words are in memory as words
FINISHED = "times.npy"  # the last of the files of counts, where they come one by one
TOTALS = "totals.json"


@dataclass(frozen=True)
class Counts:
    """How often each term stands in each passage of a shard: a matrix in columns, one a term."""

    terms: Array  # [v] uint64, sorted
    starts: Array  # [v + 1] int64, where each term's entries begin
    rows: Array  # [e] int32, passages, ascending within a term
    times: Array  # [e] int32, how often the term stands there
    lengths: Array  # [n] int32, words of each passage

    def write(self, folder: Location) -> None:
        """Put it in `folder` in one step."""
        with folder_in_one_step(folder) as scratch:
            for name, array in vars(self).items():
                np.save(scratch / f"{name}.npy", array, allow_pickle=False)

    @staticmethod
    def read(folder: Location, *, rows: bool = True) -> Counts:
        """What `write` put there; without `rows`, entries are empty."""
        names = ("terms", "starts", "rows", "times", "lengths")
        none = np.empty(0, np.int32)
        return Counts(*(none if not rows and name in ("rows", "times") else load(folder, name) for name in names))


def count(contents: Iterable[str]) -> Counts:
    """The terms of a shard's passages.

    Memory: some 40 bytes for each term of each passage while they are sorted, 2.5 GB for a million passages.
    """
    known: dict[str, int] = {}
    columns, rows, times, lengths, read = list[Array](), list[Array](), list[Array](), list[Array](), 0
    for piece in _pieces(contents):
        words = [terms(text) for text in piece]
        sizes = np.array([len(found) for found in words], np.int64)
        flat = np.fromiter((known.setdefault(w, len(known)) for found in words for w in found), np.int64, sizes.sum())
        place = np.repeat(np.arange(len(piece)), sizes)
        pairs, found = np.unique(place << 32 | flat, return_counts=True)
        columns.append((pairs & 0xFFFFFFFF).astype(np.int32))
        rows.append((pairs >> 32).astype(np.int32) + read)
        times.append(found.astype(np.int32))
        lengths.append(sizes.astype(np.int32))
        read += len(piece)
    hashed = numbers(list(known))
    ranked = np.argsort(hashed)
    rank = np.empty(len(ranked), np.int32)
    rank[ranked] = np.arange(len(ranked), dtype=np.int32)
    column = rank[_joined(columns)]
    order = np.argsort(column, kind="stable")  # so that rows still ascend
    starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=len(ranked)))]).astype(np.int64)
    return Counts(hashed[ranked], starts, _joined(rows)[order], _joined(times)[order], _joined(lengths))


@dataclass(frozen=True)
class Statistics:
    """Of the base corpus: in how many of its passages each term stands, how many there are, and their words in all."""

    terms: Array  # [v] uint64, sorted
    frequencies: Array  # [v] int64
    passages: int
    words: int

    @staticmethod
    def of(shards: Sequence[Counts]) -> Statistics:
        """Those of the passages of all `shards`, however they were shared out."""
        numbered, places = np.unique(np.concatenate([s.terms for s in shards]), return_inverse=True)
        found = np.concatenate([np.diff(s.starts) for s in shards])
        frequencies = np.zeros(len(numbered), np.int64)
        np.add.at(frequencies, places, found)
        totals = (sum(len(s.lengths) for s in shards), sum(int(s.lengths.sum(dtype=np.int64)) for s in shards))
        return Statistics(numbered, frequencies, *totals)

    @property
    def mean_length(self) -> float:
        return max(self.words, 1) / max(self.passages, 1)

    def weights(self, wanted: Array) -> npt.NDArray[np.float32]:
        """The inverse document frequency of each of these terms, as Lucene has it; 0 for one that no passage holds."""
        if not len(self.terms):
            return np.zeros(len(wanted), np.float32)
        at = np.minimum(np.searchsorted(self.terms, wanted), len(self.terms) - 1)
        held = np.where(self.terms[at] == wanted, self.frequencies[at], 0)
        return np.where(held, np.log1p((self.passages - held + 0.5) / (held + 0.5)), 0).astype(np.float32)

    def write(self, folder: Location) -> dict[str, str]:
        """Put it in `folder`; returns the sha256 of each file."""
        with folder_in_one_step(folder) as scratch:
            np.save(scratch / "terms.npy", self.terms, allow_pickle=False)
            np.save(scratch / "frequencies.npy", self.frequencies, allow_pickle=False)
            totals = json.dumps({"passages": self.passages, "words": self.words})
            (scratch / TOTALS).write_text(totals + "\n", encoding="utf-8")
            return digests(scratch)

    @staticmethod
    def read(folder: Location) -> Statistics:
        """What `write` put there, mapped from disk where that is local."""
        totals = json.loads((folder / TOTALS).read_text(encoding="utf-8"))
        return Statistics(load(folder, "terms"), load(folder, "frequencies"), totals["passages"], totals["words"])


def load(folder: Location, name: str) -> Array:
    """The array `name`, mapped from disk where it is local."""
    file = folder / f"{name}.npy"
    if isinstance(file, Path):
        return np.load(file, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)


def _pieces(contents: Iterable[str]) -> Iterable[list[str]]:
    piece: list[str] = []
    for text in contents:
        piece.append(text)
        if len(piece) == PIECE:
            yield piece
            piece = []
    if piece:
        yield piece


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int32)
