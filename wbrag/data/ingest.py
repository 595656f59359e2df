"""Ingestion: published corpora and question sets into wbrag's own Parquet files.

The output is replaced at the end, once all of the input was read: an error leaves what was there. Ids are unique.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from itertools import compress, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.errors import StoreError, UsageError, WbragError, unknown
from wbrag.core.io.durable import sync, sync_tree
from wbrag.core.io.files import Location, location, put, write_atomically
from wbrag.core.io.parquet import REPLACING
from wbrag.core.io.schemas import schema_of, to_table
from wbrag.core.types import Example, Passage
from wbrag.data.chunk import chunk
from wbrag.data.dedup import SeenIds
from wbrag.data.formats import FORMATS
from wbrag.data.readers import Input

if TYPE_CHECKING:
    from wbrag.core.io.objects import ObjectPath

T = TypeVar("T")
Progress = Callable[[int, int, int], None]

CORPUS_SCHEMA = schema_of(Passage)
EXAMPLES_SCHEMA = schema_of(Example)
FIELDS = {
    "corpus": [*CORPUS_SCHEMA.names, "contents"],
    "examples": ["id", "question", "golden_answers", "metadata"],
}

PART_ROWS = 50_000
ROW_GROUP = 4096  # index.block_rows: a block of an index build is read without the rest of its file
PART_CHARACTERS = 64_000_000  # a part is held in memory until it is written; whole books fill one sooner
BATCH = 2_000


class IngestResult(NamedTuple):
    """`rows` written from `documents` distinct records; `duplicates_dropped` repeated ones were left out.

    A corpus has more rows than documents when documents were cut; examples fewer when rows were quarantined.
    """

    rows: int
    documents: int
    duplicates_dropped: int
    path: Location
    quarantined: int = 0


def ingest_corpus(
    path: str | Location,
    out_dir: str | Location,
    *,
    format: str,
    columns: Mapping[str, str] | None = None,
    chunk_words: int = 0,
    source: str | None = None,
    progress: Progress | None = None,
) -> IngestResult:
    """Write the corpus at `path` as `out_dir/part-00000.parquet ...`, with the columns of CORPUS_SCHEMA.

    With `chunk_words` above 0, a document of more than 1.5 times as many words is cut into chunks `id#0`, `id#1`, ...
    with `start` and `end` in characters of the document. `source` fills the column where a record has none. `progress`
    gets (rows done, bytes done, bytes total). `out_dir` changes only at the end: an error leaves what was there.
    Raises UsageError for an unknown format or column, WbragError for input that does not fit.
    """
    if chunk_words < 0:
        raise UsageError(f"expected chunk_words of 0 (off) or more, found {chunk_words}")
    target = location(out_dir).resolve()
    _check_replaceable(target)
    given, records = _open(path, format, "corpus", columns or {})
    documents = dropped = rows = parts = characters = 0
    pending: list[Passage] = []
    with ExitStack() as stack:
        staging = stack.enter_context(_staging(target))
        seen = stack.enter_context(closing(SeenIds(staging)))
        (staging / "parts").mkdir()
        while batch := list(islice(records, BATCH)):
            fresh = _new(batch, seen.fresh([(p.id, p.contents) for p in batch]))
            documents, dropped = documents + len(fresh), dropped + len(batch) - len(fresh)
            for document in fresh:
                cut = _split(document, chunk_words, source or "")
                if len(cut) > 1:  # a chunk's id may be another document's own, so chunks count as seen too
                    cut = _new(cut, seen.fresh([(p.id, p.contents) for p in cut]))
                pending += cut
                characters += len(document.text)
                if len(pending) >= PART_ROWS or characters >= PART_CHARACTERS:
                    _write_part(staging / "parts", parts, pending)
                    rows, parts, characters, pending = rows + len(pending), parts + 1, 0, []
            if progress:
                progress(rows + len(pending), given.bytes_done, given.bytes_total)
        if pending:
            _write_part(staging / "parts", parts, pending)
            rows += len(pending)
        if not rows:
            raise WbragError(f"{path}: expected a corpus, found no records; check the file and the format ({format})")
        seen.close()
        _replace_folder(staging / "parts", target, staging / "old")
    return IngestResult(rows, documents, dropped, target)


def ingest_examples(
    path: str | Location,
    out_file: str | Location,
    *,
    format: str,
    task: str,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    unlabelled: bool = False,
    keep: Callable[[Example], bool] = lambda example: True,
) -> IngestResult:
    """Write the labelled questions at `path` (the first `limit`) as one Parquet file with EXAMPLES_SCHEMA's columns.

    `task` is stored with every example. `out_file` changes only at the end. An example without golden
    answers is an error; one whose answers are all blank is quarantined and counted; `unlabelled` reads no answers;
    those that `keep` denies are left out.
    Raises UsageError for an unknown format or column or a limit below 1, WbragError for input that does not fit.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"expected a limit of at least 1, found {limit}")
    target = location(out_file).resolve()
    if target.is_dir():
        raise WbragError(f"{target}: expected a Parquet file to write, found a folder; add a file name")
    given, records = _open(path, format, "examples", columns or {}, unlabelled)
    rows = dropped = 0
    with ExitStack() as stack:
        staging = stack.enter_context(_staging(target))
        seen = stack.enter_context(closing(SeenIds(staging)))
        with pq.ParquetWriter(staging / "examples", EXAMPLES_SCHEMA, compression="zstd") as writer:
            while batch := list(islice(records, BATCH if limit is None else min(BATCH, limit - rows))):
                fresh = _new(batch, seen.fresh([(e.id, "\n".join((e.question, *e.golden_answers))) for e in batch]))
                dropped += len(batch) - len(fresh)
                fresh = [item for item in fresh if keep(item)]
                rows += len(fresh)
                writer.write_table(to_table(Example, [replace(item, task=task) for item in fresh]))
        if not rows:
            raise WbragError(f"{path}: expected examples, found no records; check the file and the format ({format})")
        put(staging / "examples", target)
    return IngestResult(rows, rows + given.quarantined, dropped, target, given.quarantined)


def _open(
    path: str | Location, format: str, kind: str, columns: Mapping[str, str], unlabelled: bool = False
) -> tuple[Input, Iterator[Any]]:
    """The input and the records that `format` reads from it, once the request makes sense."""
    if format not in FORMATS:
        raise unknown("format", format, list(FORMATS))
    reader = getattr(FORMATS[format], kind)
    if reader is None:
        able = ", ".join(name for name, known in FORMATS.items() if getattr(known, kind))
        raise UsageError(f"format {format!r} has no {kind}: expected one of {able}")
    if columns and not FORMATS[format].mapped:
        able = ", ".join(name for name, known in FORMATS.items() if known.mapped)
        raise UsageError(f"format {format!r} has fixed field names: use --columns with one of {able}")
    for name in columns:
        if name not in FIELDS[kind]:
            raise unknown(f"{kind} column", name, FIELDS[kind])
    if format != "hf" and not location(path).exists():
        raise WbragError(f"expected a {format} file at {path}, found nothing; check the path")
    given = Input(str(path), columns, unlabelled)
    return given, reader(given)


def _new(records: Sequence[T], fresh: Sequence[bool]) -> list[T]:
    return list(compress(records, fresh))


def _split(document: Passage, chunk_words: int, source: str) -> list[Passage]:
    if source and not document.source:
        document = replace(document, source=source)
    if not chunk_words or len(document.text.split()) <= 1.5 * chunk_words:
        return [document]
    return [
        replace(document, id=f"{document.id}#{i}", text=text, start=document.start + start, end=document.start + end)
        for i, (text, start, end) in enumerate(chunk(document.title, document.text, chunk_words))
    ]


def _write_part(folder: Path, number: int, passages: Sequence[Passage]) -> None:
    columns = {name: [getattr(passage, name) for passage in passages] for name in CORPUS_SCHEMA.names}
    table = pa.table(columns, CORPUS_SCHEMA)
    pq.write_table(table, folder / f"part-{number:05d}.parquet", compression="zstd", row_group_size=ROW_GROUP)


@contextmanager
def _staging(target: Location) -> Iterator[Path]:
    """A local folder; beside a local `target`, so that a rename can end the work; gone afterwards."""
    if isinstance(target, Path):
        folder = target.parent / f".{target.name}.{uuid4().hex[:8]}.tmp"
    else:
        folder = Path(tempfile.mkdtemp(prefix="wbrag-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except StoreError:
        raise
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise WbragError(f"cannot write {target}: {reason}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_replaceable(target: Location) -> None:
    """Replacing a folder deletes what is in it, so it must hold nothing but an earlier corpus."""
    if target.exists() and not target.is_dir():
        raise WbragError(f"{target}: expected a folder to write the corpus to, found a file")
    others = [f.name for f in target.glob("*") if not fnmatch(f.name, "part-*.parquet") and f.name != REPLACING]
    if others:
        raise WbragError(
            f"{target}: expected a new folder or an earlier corpus, found {others[0]}; choose another folder"
        )


def _replace_folder(new: Path, target: Location, old: Path) -> None:
    if not isinstance(target, Path):
        _upload(new, target)
        return
    try:
        sync_tree(new)
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
        sync(target.parent)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise


def _upload(new: Path, target: ObjectPath) -> None:
    """Files change one after the other there, so until all have, a mark keeps anybody from reading half of each."""
    mark = target / REPLACING
    write_atomically(mark, "the corpus is being replaced\n")
    kept = sorted(new.iterdir())
    for file in kept:
        (target / file.name).put(file)
    for stale in target.glob("part-*.parquet"):
        if stale.name not in {file.name for file in kept}:
            stale.unlink()
    mark.unlink()
