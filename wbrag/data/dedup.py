"""Deduplication: ids and contents of tens of millions of records, kept as hashes in SQLite and not as texts.

An id that comes again is a duplicate where its contents are the same, and a fault where they are others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b
from pathlib import Path


class Seen(Enum):
    NEW = "new"
    AGAIN = "again"
    OTHER = "other"  # the id came before, with other contents


class SeenIds:
    """Ids and contents seen so far, as 64-bit hashes in a throw-away SQLite file in `folder`.

    A dict of 21M entries takes over 2 GB and a sort on disk finds a duplicate only at the end. SQLite keeps the
    same in about 30 bytes a row, decides batch by batch, comes with Python, and needs no fast path for small sets.
    Two different ids share a hash with probability 1e-5 at 21M rows; that would be reported as a duplicate.
    """

    def __init__(self, folder: Path) -> None:
        self._rows = 0
        self._db = sqlite3.connect(folder / "seen.sqlite", isolation_level=None)
        # Nothing here outlives the run, so durability is only cost.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-262144"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY, contents INTEGER, row INTEGER)")

    def seen(self, records: Sequence[tuple[str, str]]) -> list[Seen]:
        """For each `(id, contents)` whether it came before."""
        first = self._rows
        self._rows += len(records)
        rows = [(_hash64(id), _hash64(contents), first + i) for i, (id, contents) in enumerate(records)]
        self._db.execute("BEGIN")
        # In key order a batch touches each B-tree page once; the sort is stable, so the first of equal ids still wins.
        ordered = sorted(rows, key=lambda row: row[0])
        added = self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", ordered).rowcount
        self._db.execute("COMMIT")
        if added == len(records):
            return [Seen.NEW] * len(records)
        return [self._state(row) for row in rows]

    def close(self) -> None:
        self._db.close()

    def _state(self, row: tuple[int, int, int]) -> Seen:
        contents, number = self._db.execute("SELECT contents, row FROM seen WHERE id = ?", row[:1]).fetchone()
        if number == row[2]:
            return Seen.NEW
        return Seen.AGAIN if contents == row[1] else Seen.OTHER


def _hash64(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
