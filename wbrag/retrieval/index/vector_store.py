"""Vector store: what was embedded once, found again by the contents of each passage.

Passages that were embedded together are a pack: `NAME.npy`, their vectors [n, d] in float16, and `NAME.keys.npy`, which
is written last and says whose they are. Whichever corpus a passage comes from, and wherever it stands in it, its vector
is found by its key, so that a changed corpus embeds what has changed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wbrag.core.io.files import Location, file_in_one_step, listed

Keys = npt.NDArray[np.uint64]  # [n, 2]: 128 bits of BLAKE2b
KEY_BYTES = 16
ENDING = ".keys.npy"
LABELS = ("access", "metadata")  # columns of those corpora alone that have them


class Places(NamedTuple):
    """Where vectors lie: the number of a pack in `packs`, and a row of it; -1 for those that lie nowhere."""

    packs: list[str]
    pack: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = self.pack >= 0
        return found

    def of(self, start: int, stop: int) -> Places:
        """Those of the passages [start, stop), with the packs that they need."""
        used, pack = np.unique(self.pack[start:stop], return_inverse=True)
        return Places([self.packs[i] for i in used], pack.astype(np.int32), self.row[start:stop])


class VectorStore:
    """The packs in `folder`, of one encoder."""

    def __init__(self, folder: Location) -> None:
        self.folder = folder

    def keep(self, name: str, keys: Keys, vectors: npt.NDArray[Any]) -> None:
        """A pack; it is there once its keys are."""
        for ending, array in ((".npy", vectors.astype(np.float16)), (ENDING, keys)):
            with file_in_one_step(self.folder / f"{name}{ending}") as scratch, scratch.open("wb") as file:
                np.save(file, array, allow_pickle=False)

    def places(self, wanted: Keys) -> Places:
        """Where the vectors of passages with these keys lie; of several the first by the pack's name."""
        files = listed(self.folder, f"*{ENDING}")
        packs = [file.name.removesuffix(ENDING) for file in files]
        order = np.lexsort((wanted[:, 1], wanted[:, 0]))
        asked, group = _distinct(wanted[order])  # one text may stand under many ids
        pack, row = (np.full(len(asked), -1, np.int32) for _ in range(2))
        for number, file in enumerate(files if len(wanted) else ()):  # one in memory at a time
            at = _first(asked, load(file))
            fresh = np.flatnonzero((at >= 0) & (pack[at] < 0))
            pack[at[fresh]], row[at[fresh]] = number, fresh
        found = np.empty((2, len(wanted)), np.int32)
        found[:, order] = np.stack([pack, row])[:, group]
        return Places(packs, found[0], found[1])

    def vectors(self, places: Places) -> npt.NDArray[np.float16]:
        """The vectors [n, d] at `places`, all of which are known."""
        found: list[tuple[npt.NDArray[np.bool_], Any]] = []
        for number, name in enumerate(places.packs):
            mine = places.pack == number
            rows = places.row[mine]
            whole = load(self.folder / f"{name}.npy")
            if mine.all() and len(rows) == len(whole) and (rows == np.arange(len(rows))).all():
                return whole  # a block as it was embedded
            found.append((mine, whole[rows]))
        joined = np.empty((len(places.pack), found[0][1].shape[1]), np.float16)
        for mine, vectors in found:
            joined[mine] = vectors
        return joined


def _first(asked: Keys, there: Keys) -> npt.NDArray[np.int64]:
    """Where each of `there` stands first in `asked`, which is sorted; -1 for one that does not."""
    left = np.searchsorted(asked[:, 0], there[:, 0], "left")
    found = np.full(len(there), -1, np.int64)
    for step in range(_longest_run(asked[:, 0])):
        at = np.minimum(left + step, len(asked) - 1)
        same = (found < 0) & (asked[at] == there).all(axis=1)
        found[same] = at[same]
    return found


def _distinct(keys: Keys) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Some sorted keys without those that are there already, and which of these each one is."""
    if not len(keys):
        return keys, np.empty(0, np.int64)
    new = np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])
    return keys[new], np.cumsum(new) - 1


def _longest_run(values: npt.NDArray[np.uint64]) -> int:
    """Of equal ones in a sorted array."""
    if not len(values):
        return 0
    edges = np.flatnonzero(np.diff(values)) + 1
    return int(np.diff(np.concatenate([[0], edges, [len(values)]])).max())


def text_keys(contents: Sequence[str]) -> Keys:
    """A key for each passage as an encoder reads it."""
    return _keys(text.encode() for text in contents)


def row_keys(rows: pa.Table) -> Keys:
    """A key for each passage as a shard keeps it."""
    blank = [""] * rows.num_rows  # of a corpus that was read before sources were kept
    columns = [
        rows[name].to_pylist() if name in rows.column_names else blank for name in ("id", "title", "text", "source")
    ]
    labels = [rows[name].to_pylist() for name in LABELS if name in rows.column_names]
    if not labels:
        return _keys(json.dumps(cells).encode() for cells in zip(*columns, strict=True))
    told = ([one for one in some if one is not None] for some in zip(*labels, strict=True))
    return _keys(json.dumps([*cells, *more]).encode() for cells, more in zip(zip(*columns, strict=True), told))


def _keys(texts: Iterator[bytes]) -> Keys:
    joined = b"".join(blake2b(text, digest_size=KEY_BYTES).digest() for text in texts)
    return np.frombuffer(joined, "<u8").reshape(-1, 2)


def load(file: Location) -> Any:
    """An array, mapped from disk where it is local."""
    if isinstance(file, Path):
        return np.load(file, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)
