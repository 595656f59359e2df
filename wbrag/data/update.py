"""Corpus update: documents added, changed and deleted by id, in place.

Files of the corpus that hold none of them stay as they are, byte for byte, so that whatever was made of them can stay
too. The corpus changes at the end and in one step: an error leaves what was there.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Unpack

import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.files import Location, location, opened
from wbrag.core.io.parquet import corpus_files
from wbrag.core.types import Passage
from wbrag.data.changes import Changes, look_up
from wbrag.data.dedup import SeenIds
from wbrag.data.ingest import PART_ROWS, Progress, check_chunk_words, cut_documents, keeping, told
from wbrag.data.parts import ROW_GROUP, part_of, write_part, write_rows
from wbrag.data.reading import ReadOptions, open_records
from wbrag.data.source import Input
from wbrag.data.staging import check_replaceable, clear_left, replace_folder, staging, upload


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
    filtered: int = 0


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
    check_chunk_words(chunk_words)
    if path is None and not delete:
        raise UsageError("expected documents to update the corpus with, or ids to delete, found neither: give a file")
    target = location(corpus).resolve()
    check_replaceable(target)
    clear_left(target)
    files = corpus_files(target)
    if not files:
        raise WbragError(f"expected a corpus to update in {target}, found none: ingest one without --update")
    before = _state(files)
    given = Input("")
    with ExitStack() as stack:
        scratch = stack.enter_context(staging(target))
        new = stack.enter_context(closing(Changes(scratch)))
        if path is not None:
            given, records = open_records(path, format, "corpus", how)
            stack.enter_context(keeping(given, scratch, how.get("kept_in")))
            seen = stack.enter_context(closing(SeenIds(scratch)))
            for read in cut_documents(given, seen, records, chunk_words, source or ""):
                for cut in filter(None, read.documents):
                    new.add(cut)
                if progress:
                    progress(len(new.documents), given.bytes_done, given.bytes_total)
            given.check_metadata()
        new.delete(delete)
        look_up(files, new)
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
        added=found["added"],
        changed=found["changed"],
        deleted=found["deleted"],
        unchanged=found["unchanged"],
        older=found["older"],
        not_found=found["not found"],
        files_kept=len(wrote.kept),
        files_written=wrote.written,
        path=target,
        **told(given, how.get("kept_in")),
    )


class _Written(NamedTuple):
    rows: int
    kept: list[str]
    written: int


def _write(files: Sequence[Location], new: Changes, parts: Path) -> _Written:
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
    numbers = [file.stem.rpartition("-")[2] for file in files]
    number = 1 + max((int(number) for number in numbers if number.isdigit()), default=len(files))
    added = new.added()
    while batch := list(islice(added, PART_ROWS)):
        write_part(parts, number, batch)
        rows, written, number = rows + len(batch), written + 1, number + 1
    return _Written(rows, kept, written)


def _exchanged(table: pa.Table, new: Changes, names: Set[str], done: set[str]) -> pa.Table:
    """The rows with those of these documents exchanged for what they are now, each in the place of its first."""
    pieces = [table.slice(0, 0)]
    for start in range(0, table.num_rows, ROW_GROUP):  # a piece for every document would take 10 KB each
        rows = table.slice(start, ROW_GROUP)
        owners = [new.owner(id) for id in rows["id"].to_pylist()]
        if names.isdisjoint(owners):
            pieces.append(rows)
            continue
        order, fresh = list[int](), list[Passage]()
        for row, name in enumerate(owners):
            if name is None or name not in names:
                order.append(row)
            elif new.documents[name].becomes == "changed" and name not in done:
                done.add(name)
                passages = new.passages(name)
                order += range(len(owners) + len(fresh), len(owners) + len(fresh) + len(passages))
                fresh += passages
        both = pa.concat_tables([rows, part_of(fresh)], promote_options="permissive") if fresh else rows
        pieces.append(both.combine_chunks().take(pa.array(order, pa.int64())))
    return pa.concat_tables(pieces, promote_options="permissive")


def _link(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)
    except OSError:  # a disk that knows no links
        shutil.copyfile(file, copy)


def _state(files: Sequence[Location]) -> list[tuple[str, int, int]]:
    """What tells whether somebody else has changed the corpus."""
    stats = [(file.name, file.stat()) for file in files]
    return [(name, stat.st_size, getattr(stat, "st_mtime_ns", 0)) for name, stat in stats]
