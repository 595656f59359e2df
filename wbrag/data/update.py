"""Corpus update: documents added, changed and deleted by id, in place.

Files of the corpus that hold none of them stay as they are, byte for byte, so that whatever was made of them can stay
too. The corpus changes at the end and in one step: an error leaves what was there.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, Unpack, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.files import Location, location, opened
from wbrag.core.io.parquet import corpus_files
from wbrag.core.types import Passage
from wbrag.data.dedup import SeenIds
from wbrag.data.ingest import (
    CORPUS_SCHEMA,
    PART_ROWS,
    Progress,
    ReadOptions,
    cut_documents,
    keeping,
    open_records,
    write_part,
    write_rows,
)
from wbrag.data.source import Input
from wbrag.data.staging import replace_folder, staging, upload

Becomes = Literal["added", "changed", "unchanged", "older", "deleted", "not found"]
DECIDING = ("id", "title", "text", "source", "start", "end", "updated_at")  # with `trust`: whether one is another


class UpdateResult(NamedTuple):
    """What became of each document, and how many passages and files the corpus has now.

    `older` ones came with an earlier `updated_at` than is there, and were passed over; `not_found` ones were to be
    deleted and are not there. The rest is `IngestResult`'s.
    """

    rows: int
    added: int
    changed: int
    deleted: int
    unchanged: int
    older: int
    not_found: int
    files_kept: int
    files_written: int
    path: Location
    quarantined: int = 0
    left_out: Mapping[str, int] = {}
    kept_in: Location | None = None
    mended: int = 0
    passed_over: Sequence[str] = ()


@dataclass
class _Document:
    """One that is to be written, or deleted: what it will be, and what of it was there."""

    new: bytes = b""  # digest of its passages; empty: it is to be deleted
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
        return "older" if self.new_at and self.old_at and self.new_at < self.old_at else "changed"


def update_corpus(
    path: str | Location | None,
    corpus: str | Location,
    *,
    format: str,
    chunk_words: int = 0,
    source: str | None = None,
    delete: Collection[str] = (),
    progress: Progress | None = None,
    **how: Unpack[ReadOptions],
) -> UpdateResult:
    """Write the documents at `path` into the `corpus` that is there, and take those out that `delete` names.

    A document takes the place of the passages that were cut from the one with its id. Raises UsageError where nothing
    is asked for, WbragError where there is no corpus, for input that does not fit, and where the corpus was changed by
    somebody else meanwhile.
    """
    if path is None and not delete:
        raise UsageError("expected documents to update the corpus with, or ids to delete, found neither: give a file")
    target = location(corpus).resolve()
    files = corpus_files(target)
    if not files:
        raise WbragError(f"expected a corpus to update in {target}, found none: ingest one without --update")
    before = _state(files)
    given = Input("")
    with ExitStack() as stack:
        scratch = stack.enter_context(staging(target))
        new = stack.enter_context(closing(_New(scratch)))
        if path is not None:
            given, records = open_records(path, format, "corpus", how)
            stack.enter_context(keeping(given, scratch, how.get("kept_in")))
            seen = stack.enter_context(closing(SeenIds(scratch)))
            for read in cut_documents(given, seen, records, chunk_words, source or ""):
                for cut in filter(None, read.documents):
                    new.add(cut)
                if progress:
                    progress(len(new.documents), given.bytes_done, given.bytes_total)
        new.delete(delete)
        _look(files, new)
        parts = scratch / "parts"
        parts.mkdir()
        wrote = _write(files, new, parts)
        if not wrote.rows:
            raise WbragError(f"expected the corpus in {target} to keep some passages, found all of them deleted")
        if _state(corpus_files(target)) != before:
            raise WbragError(f"expected {target} to stay as it is meanwhile, found it changed: run the command again")
        if isinstance(target, Path):
            replace_folder(parts, target, scratch / "old")
        else:
            upload(parts, target, wrote.kept)
    found = Counter(document.becomes for document in new.documents.values())
    return UpdateResult(
        wrote.rows,
        **{kind.replace(" ", "_"): found[kind] for kind in get_args(Becomes)},
        files_kept=len(wrote.kept),
        files_written=wrote.written,
        path=target,
        quarantined=given.quarantined,
        left_out=dict(given.left_out),
        kept_in=how.get("kept_in") if given.quarantined else None,
        mended=given.values.mended,
        passed_over=tuple(given.passed_over),
    )


class _New:
    """What is to be written: each document by its id, its passages in a scratch database."""

    def __init__(self, folder: Path) -> None:
        self.documents: dict[str, _Document] = {}
        self.chunks: dict[str, str] = {}  # id of each chunk -> of its document
        self.whole: set[str] = set()  # documents that the corpus has uncut
        self._db = sqlite3.connect(folder / "new.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("CREATE TABLE passages (document TEXT, passage TEXT)")
        self._db.execute("CREATE INDEX by_document ON passages (document)")

    def add(self, cut: Sequence[Passage]) -> None:
        """The passages of one document."""
        whole = cut[0].id
        document = document_of(whole) if len(cut) > 1 else whole
        self.documents[document] = _Document(_digest([asdict(p) for p in cut]), max(p.updated_at for p in cut))
        if len(cut) > 1:
            self.chunks |= {passage.id: document for passage in cut}
        rows = [(document, json.dumps(asdict(passage))) for passage in cut]
        self._db.executemany("INSERT INTO passages VALUES (?, ?)", rows)

    def delete(self, ids: Collection[str]) -> None:
        for id in ids:
            if id in self.documents:
                raise WbragError(f"expected document {id!r} to be written or deleted, found both: choose one")
        self.documents |= {id: _Document() for id in ids}

    def owner(self, id: str) -> str | None:
        """The document of these that a passage of the corpus is of; a name with a number may be a whole one's own."""
        if id in self.documents:
            return id
        document = document_of(id)
        return document if document in self.documents and document not in self.whole else None

    def passages(self, document: str) -> list[dict[str, Any]]:
        rows = self._db.execute("SELECT passage FROM passages WHERE document = ? ORDER BY rowid", (document,))
        return [json.loads(text) for (text,) in rows]

    def added(self) -> Iterator[Passage]:
        for document, text in self._db.execute("SELECT document, passage FROM passages ORDER BY rowid"):
            if self.documents[document].becomes == "added":
                yield Passage(**json.loads(text))

    def close(self) -> None:
        self._db.close()


def document_of(id: str) -> str:
    """The document that a chunk was cut from; itself where it is none."""
    document, cut, number = id.rpartition("#")
    return document if cut and number.isdigit() else id


def _look(files: Sequence[Location], new: _New) -> None:
    """Find in the corpus what is there of the new documents."""
    ids = [pq.read_table(opened(file), columns=["id"])["id"].to_pylist() for file in files]
    new.whole = {id for mine in ids for id in mine if id in new.documents}
    found: dict[str, list[dict[str, Any]]] = {}
    for number, (file, mine) in enumerate(zip(files, ids, strict=True)):
        owners = [new.owner(id) for id in mine]
        for id, owner in zip(mine, owners, strict=True):
            if new.chunks.get(id, owner) != owner:
                raise WbragError(
                    f"expected the chunk id {id!r} of document {new.chunks[id]!r} to be free, found another document "
                    "of that id: rename one"
                )
        for row in _rows_where(file, [owner is not None for owner in owners]):
            document = new.owner(row["id"])
            assert document is not None
            new.documents[document].files.add(number)
            found.setdefault(document, []).append(row)
    for name, rows in found.items():
        document_now = new.documents[name]
        document_now.old, document_now.old_at = _digest(rows), max(row["updated_at"] or "" for row in rows)


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


class _Written(NamedTuple):
    rows: int
    kept: list[str]
    written: int


def _write(files: Sequence[Location], new: _New, parts: Path) -> _Written:
    """The corpus's files as they will be: those that hold nothing that changes as they are, in their old names."""
    touched: dict[int, set[str]] = {}
    for name, document in new.documents.items():
        if document.becomes in ("changed", "deleted"):
            for number in document.files:
                touched.setdefault(number, set()).add(name)
    rows, written, kept, done = 0, 0, list[str](), set[str]()
    for number, file in enumerate(files):
        if number not in touched:
            kept.append(file.name)
            rows += pq.read_metadata(opened(file)).num_rows
            if isinstance(file, Path):
                _link(file, parts / file.name)
            continue
        table = _exchanged(pq.read_table(opened(file)), new, touched[number], done)
        if table.num_rows:
            write_rows(parts / file.name, table)
            rows, written = rows + table.num_rows, written + 1
    number = 1 + max(int(file.stem.rpartition("-")[2]) for file in files)
    added = new.added()
    while batch := list(islice(added, PART_ROWS)):
        write_part(parts, number, batch)
        rows, written, number = rows + len(batch), written + 1, number + 1
    return _Written(rows, kept, written)


def _exchanged(table: pa.Table, new: _New, names: Collection[str], done: set[str]) -> pa.Table:
    """The rows with those of these documents exchanged for what they are now, each in the place of its first."""
    pieces, start = [table.slice(0, 0)], 0
    for row, id in enumerate(table["id"].to_pylist()):
        name = new.owner(id)
        if name not in names:
            continue
        assert name is not None
        pieces.append(table.slice(start, row - start))
        if new.documents[name].becomes == "changed" and name not in done:
            pieces.append(pa.Table.from_pylist(new.passages(name), CORPUS_SCHEMA))
            done.add(name)
        start = row + 1
    return pa.concat_tables([*pieces, table.slice(start)], promote_options="default")


def _link(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)
    except OSError:  # a disk that knows no links
        shutil.copyfile(file, copy)


def _digest(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Equal for equal passages, also where a table has kept one side's `trust` in 32 bits."""
    known = [[np.float32(row["trust"]).item(), *(row[name] or "" for name in DECIDING)] for row in rows]
    return blake2b(json.dumps(known).encode(), digest_size=16).digest()


def _state(files: Sequence[Location]) -> list[tuple[str, int, int]]:
    """What tells whether somebody else has changed the corpus."""
    stats = [(file.name, file.stat()) for file in files]
    return [(name, stat.st_size, getattr(stat, "st_mtime_ns", 0)) for name, stat in stats]
