"""Corpus changes: documents that are to be written or deleted, and what of them a corpus has."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, opened
from wbrag.core.io.schemas import from_row, to_row
from wbrag.core.types import Passage
from wbrag.data.chunk import document_of

Becomes = Literal["added", "changed", "unchanged", "older", "deleted", "not found"]
DECIDING = ("id", "title", "text", "source", "start", "end", "updated_at", "groups", "metadata")


@dataclass
class Document:
    """One that is to be written, or deleted: what it will be, and what of it was there."""

    new: bytes = b""  # digests of its passages; empty: it is to be deleted
    new_at: str = ""
    old: bytes = b""
    old_at: str = ""
    files: set[int] = field(default_factory=set)

    @property
    def becomes(self) -> Becomes:
        if not self.new:
            return "deleted" if self.files else "not found"
        if not self.files:
            return "added"
        if self.new == self.old:
            return "unchanged"
        return "older" if _earlier(self.new_at, self.old_at) else "changed"


def _earlier(one: str, other: str) -> bool:
    """Whether both are known and `one` is the earlier; of text that is no ISO 8601 by the text."""
    if not one or not other:
        return False
    try:
        first, second = (datetime.fromisoformat(text) for text in (one, other))
        return (first.astimezone(UTC) if first.tzinfo else first.replace(tzinfo=UTC)) < (
            second.astimezone(UTC) if second.tzinfo else second.replace(tzinfo=UTC)
        )
    except ValueError:
        return one < other


class Changes:
    """What is to be written: each document by its id, its passages in a scratch database."""

    def __init__(self, folder: Path) -> None:
        self.documents: dict[str, Document] = {}
        self.chunks: dict[str, str] = {}  # id of each chunk -> of its document
        self.cut: set[str] = set()  # documents that the corpus has in chunks
        self._db = sqlite3.connect(folder / "new.sqlite", isolation_level=None)
        # Nothing here outlives the run, so durability is only cost; and one transaction, which is never committed.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("BEGIN")
        self._db.execute("CREATE TABLE passages (document TEXT, passage TEXT)")
        self._db.execute("CREATE INDEX by_document ON passages (document)")

    def add(self, cut: Sequence[Passage]) -> None:
        """The passages of one document."""
        whole = cut[0].id
        document = document_of(whole) if len(cut) > 1 else whole
        rows = [to_row(passage) for passage in cut]
        self.documents[document] = Document(b"".join(_digest([row]) for row in rows), max(p.updated_at for p in cut))
        if len(cut) > 1:
            self.chunks |= {passage.id: document for passage in cut}
        self._db.executemany("INSERT INTO passages VALUES (?, ?)", [(document, json.dumps(row)) for row in rows])

    def delete(self, ids: Collection[str]) -> None:
        for id in ids:
            if id in self.documents:
                raise WbragError(f"expected document {id!r} to be written or deleted, found both: choose one")
        self.documents |= {id: Document() for id in ids}

    def owner(self, id: str) -> str | None:
        """The document of these that a passage of the corpus is of; what looks like a chunk's id may be its own."""
        document = document_of(id)
        if document in self.cut and document != id:
            return document if document in self.documents else None
        return id if id in self.documents else None

    def passages(self, document: str) -> list[Passage]:
        rows = self._db.execute("SELECT passage FROM passages WHERE document = ? ORDER BY rowid", (document,))
        return [from_row(Passage, json.loads(text)) for (text,) in rows]

    def added(self) -> Iterator[Passage]:
        for document, text in self._db.execute("SELECT document, passage FROM passages ORDER BY rowid"):
            if self.documents[document].becomes == "added":
                yield from_row(Passage, json.loads(text))

    def close(self) -> None:
        self._db.close()


def look_up(files: Sequence[Location], new: Changes) -> None:
    """Find in the corpus what is there of the new documents."""
    new.cut = _cut_documents(files, {*new.documents, *map(document_of, new.documents)})
    digests: dict[str, list[bytes]] = {}
    for number, file in enumerate(files):
        ids = pq.read_table(opened(file), columns=["id"])["id"].to_pylist()
        for id in ids:
            _check_free(id, new)
        for row in _rows_where(file, [new.owner(id) is not None for id in ids]):
            name = new.owner(row["id"])
            assert name is not None
            document = new.documents[name]
            document.files.add(number)
            document.old_at = max(document.old_at, row.get("updated_at") or "")
            digests.setdefault(name, []).append(_digest([row]))
    for name, found in digests.items():
        new.documents[name].old = b"".join(found)


def _check_free(id: str, new: Changes) -> None:
    """Raises WbragError where a new passage would have the id of another document's."""
    document = document_of(id)
    if id in new.documents and document != id and document in new.cut:
        raise WbragError(
            f"expected the id {id!r} of a document to be free, found a chunk of document {document!r}: rename one"
        )
    if id in new.chunks and new.owner(id) != new.chunks[id]:
        raise WbragError(
            f"expected the chunk id {id!r} of document {new.chunks[id]!r} to be free, found another document of that "
            "id: rename one"
        )


def _cut_documents(files: Sequence[Location], names: Collection[str]) -> set[str]:
    """Those of the documents that the corpus has in chunks: all of `name#0`, `name#1`, ..., one after the other in it.

    Documents that were never cut may have such ids too, pages of a book or the parts of an address.
    """
    series: dict[str, list[tuple[int, int, int]]] = {}
    whole: set[str] = set()
    for file in files:
        table = pq.read_table(opened(file), columns=["id", "start", "end"])
        for row, id in enumerate(table["id"].to_pylist()):
            document = document_of(id)
            if document != id and document in names:
                start, end = (table[name][row].as_py() or 0 for name in ("start", "end"))
                series.setdefault(document, []).append((int(id.rpartition("#")[2]), start, end))
            elif id in names:
                whole.add(id)
    return {
        name
        for name, found in series.items()
        if name not in whole
        and [number for number, _, _ in sorted(found)] == list(range(len(found)))
        and len(found) > 1
        and all(one[2] <= other[1] for one, other in pairwise(sorted(found)))
    }


def _rows_where(file: Location, wanted: Sequence[bool]) -> Iterator[dict[str, Any]]:
    """The rows that are wanted; of row groups without any nothing is read."""
    if not any(wanted):
        return
    parquet, start = pq.ParquetFile(opened(file)), 0
    for group in range(parquet.num_row_groups):
        mask = wanted[start : start + parquet.metadata.row_group(group).num_rows]
        start += len(mask)
        if any(mask):
            yield from parquet.read_row_group(group).filter(pa.array(mask)).to_pylist()


def _digest(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Equal for equal passages, also where a table has kept one side's `trust` in 32 bits."""
    known = [[np.float32(row.get("trust", 1.0)).item(), *(_plain(row, name) for name in DECIDING)] for row in rows]
    return blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=16).digest()


def _plain(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name) or ""
    return (json.loads(value) or "") if value and name == "metadata" else value
