"""Ingestion: published corpora and question sets into wbrag's own Parquet files.

The output is replaced at the end, once all of the input was read: an error leaves what was there. Ids are unique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from itertools import compress, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, Unpack

import pyarrow.parquet as pq

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.files import Location, location, put
from wbrag.core.io.schemas import schema_of, to_table
from wbrag.core.types import Example, Passage
from wbrag.core.words import count
from wbrag.data.chunk import chunk
from wbrag.data.dedup import Seen, SeenIds
from wbrag.data.parts import write_part
from wbrag.data.reading import ReadOptions, open_records
from wbrag.data.source import OTHER_TEXT, Input
from wbrag.data.staging import check_replaceable, replace_folder, staging

T = TypeVar("T", Passage, Example)
Progress = Callable[[int, int, int], None]

EXAMPLES_SCHEMA = schema_of(Example)
PART_ROWS = 50_000
PART_CHARACTERS = 64_000_000  # a part is held in memory until it is written; whole books fill one sooner
BATCH = 2_000


class IngestResult(NamedTuple):
    """`rows` written from `documents` distinct records; `duplicates_dropped` repeated ones were left out.

    A corpus has more rows than documents when documents were cut. `quarantined` records were left out, in `left_out` by
    why; they lie in the file `kept_in`. In `mended` records a text held NUL or half a surrogate pair. Of a folder the
    files `passed_over` were not read; `filtered` records were not asked for.
    """

    rows: int
    documents: int
    duplicates_dropped: int
    path: Location
    quarantined: int = 0
    left_out: Mapping[str, int] = {}
    kept_in: Location | None = None
    mended: int = 0
    passed_over: Sequence[str] = ()
    filtered: int = 0


def ingest_corpus(
    path: str | Location,
    out_dir: str | Location,
    *,
    format: str,
    chunk_words: int = 0,
    source: str | None = None,
    progress: Progress | None = None,
    **how: Unpack[ReadOptions],
) -> IngestResult:
    """Write the corpus at `path` as `out_dir/part-00000.parquet ...`, with the columns of CORPUS_SCHEMA.

    With `chunk_words` above 0, a document of more than 1.5 times as many words is cut into chunks `id#0`, `id#1`, ...
    with `start` and `end` in characters of the document. `source` fills the column where a record has none. `progress`
    gets (rows done, bytes done, bytes total). `out_dir` changes only at the end: an error leaves what was there.
    Raises UsageError for an unknown format or column, WbragError for input that does not fit.
    """
    check_chunk_words(chunk_words)
    target = location(out_dir).resolve()
    check_replaceable(target)
    given, records = open_records(path, format, "corpus", how)
    documents = dropped = rows = parts = characters = 0
    pending: list[Passage] = []
    with ExitStack() as stack:
        scratch = stack.enter_context(staging(target))
        stack.enter_context(keeping(given, scratch, how.get("kept_in")))
        seen = stack.enter_context(closing(SeenIds(scratch)))
        (scratch / "parts").mkdir()
        for read in cut_documents(given, seen, records, chunk_words, source or ""):
            documents, dropped = documents + len(read.documents), dropped + read.again
            for cut in read.documents:
                pending += cut
                characters += sum(len(passage.text) for passage in cut)
                if len(pending) >= PART_ROWS or characters >= PART_CHARACTERS:
                    write_part(scratch / "parts", parts, pending)
                    rows, parts, characters, pending = rows + len(pending), parts + 1, 0, []
            if progress:
                progress(rows + len(pending), given.bytes_done, given.bytes_total)
        if pending:
            write_part(scratch / "parts", parts, pending)
            rows += len(pending)
        if not rows:
            raise _nothing(given, "a corpus")
        given.check_metadata()
        seen.close()
        replace_folder(scratch / "parts", target, scratch / "old")
    return _result(given, rows, documents, dropped, target, how.get("kept_in"))


def ingest_examples(
    path: str | Location,
    out_file: str | Location,
    *,
    format: str,
    task: str,
    limit: int | None = None,
    unlabelled: bool = False,
    keep: Callable[[Example], bool] = lambda example: True,
    **how: Unpack[ReadOptions],
) -> IngestResult:
    """Write the labelled questions at `path` (the first `limit`) as one Parquet file with EXAMPLES_SCHEMA's columns.

    `task` is stored with every example. `out_file` changes only at the end. An example without a golden answer is
    left out and counted; `unlabelled` reads no answers; those that `keep` denies are left out.
    Raises UsageError for an unknown format or column or a limit below 1, WbragError for input that does not fit.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"expected a limit of at least 1, found {limit}")
    target = location(out_file).resolve()
    if target.is_dir():
        raise WbragError(f"{target}: expected a Parquet file to write, found a folder; add a file name")
    given, records = open_records(path, format, "examples", how, unlabelled)
    rows = dropped = 0
    with ExitStack() as stack:
        scratch = stack.enter_context(staging(target))
        stack.enter_context(keeping(given, scratch, how.get("kept_in")))
        seen = stack.enter_context(closing(SeenIds(scratch)))
        with pq.ParquetWriter(scratch / "examples", EXAMPLES_SCHEMA, compression="zstd") as writer:
            while batch := next(_batches(records, BATCH if limit is None else min(BATCH, limit - rows)), None):
                fresh, again = _fresh(given, seen, batch)
                dropped += again
                kept = [replace(item, task=task) for _, item in fresh if keep(item)]
                rows += len(kept)
                writer.write_table(to_table(Example, kept))
        if not rows:
            raise _nothing(given, "examples")
        put(scratch / "examples", target)
    return _result(given, rows, rows + given.quarantined, dropped, target, how.get("kept_in"))


@contextmanager
def keeping(given: Input, scratch: Path, kept_in: Location | None) -> Iterator[None]:
    """What is left out goes to `kept_in` if all goes well; what an earlier ingest left out goes in any such case."""
    given.kept_in = scratch / "left-out.jsonl" if kept_in is not None else None
    yield
    if kept_in is None:
        return
    if given.kept_in and given.kept_in.exists():
        kept_in.parent.mkdir(parents=True, exist_ok=True)
        put(given.kept_in, kept_in)
    else:
        kept_in.unlink(missing_ok=True)


def check_chunk_words(chunk_words: int) -> None:
    if chunk_words < 0:
        raise UsageError(f"expected chunk_words of 0 (off) or more, found {chunk_words}")


class Cut(NamedTuple):
    """Some documents, each as its passages, and how many others were there before."""

    documents: list[list[Passage]]
    again: int


def cut_documents(
    given: Input, seen: SeenIds, records: Iterator[tuple[str, Passage]], chunk_words: int, source: str
) -> Iterator[Cut]:
    """The documents of a corpus as they are written: each once, cut, with a source."""
    for batch in _batches(records, BATCH):
        fresh, again = _fresh(given, seen, batch)
        found = []
        for where, document in fresh:
            cut = _split(document, chunk_words, source, given.groups)
            if len(cut) > 1:  # a chunk's id may be another document's own, so chunks count as seen too
                cut = [piece for _, piece in _fresh(given, seen, [(where, piece) for piece in cut])[0]]
            found.append(cut)
        yield Cut(found, again)


def _batches(records: Iterator[tuple[str, T]], most: int) -> Iterator[list[tuple[str, T]]]:
    """At most so many at a time, and no more characters than a part has: a document may be a whole library."""
    while most > 0:
        batch: list[tuple[str, T]] = []
        size = 0
        for where, item in islice(records, most):
            batch.append((where, item))
            size += len(_contents(item))
            if size >= PART_CHARACTERS:
                break
        if not batch:
            return
        yield batch


def _fresh(given: Input, seen: SeenIds, batch: Sequence[tuple[str, T]]) -> tuple[list[tuple[str, T]], int]:
    """Those of the batch that were not there before, and how many came again; what took another's id is refused."""
    found = seen.seen([(item.id, _contents(item)) for _, item in batch])
    for (where, item), state in zip(batch, found, strict=True):
        if state is Seen.OTHER:
            given.values.where = where
            what = "text or groups" if isinstance(item, Passage) and item.groups else "text"
            said = f"{where}: id {item.id!r}: expected once, found twice with different {what}; make the ids unique"
            given.refuse(WbragError(said), asdict(item), OTHER_TEXT)
    return list(compress(batch, (state is Seen.NEW for state in found))), found.count(Seen.AGAIN)


def _contents(item: Passage | Example) -> str:
    if isinstance(item, Passage):
        return item.contents + "".join(f"\0{group}" for group in item.groups)
    return "\n".join((item.question, *item.golden_answers))


def _nothing(given: Input, wanted: str) -> WbragError:
    if given.first:
        why = ", ".join(f"{n:,}: {why}" for why, n in given.left_out.items())
        return WbragError(f"{given.first} (of the {given.quarantined:,} records none could be kept: {why})")
    if given.filtered:
        return WbragError(
            f"{given.path}: expected {wanted}, found {given.filtered:,} records that the filter does not let pass: "
            "check --filter"
        )
    return WbragError(
        f"{given.path}: expected {wanted}, found no records; check the file and the format ({given.format})"
    )


def _result(
    given: Input, rows: int, documents: int, dropped: int, target: Location, kept_in: Location | None
) -> IngestResult:
    return IngestResult(rows, documents, dropped, target, **told(given, kept_in))


def told(given: Input, kept_in: Location | None) -> dict[str, Any]:
    """What every result says of what was read."""
    return {
        "quarantined": given.quarantined,
        "left_out": dict(given.left_out),
        "kept_in": kept_in if given.quarantined else None,
        "mended": given.values.mended,
        "passed_over": tuple(given.passed_over),
        "filtered": given.filtered,
    }


def _split(document: Passage, chunk_words: int, source: str, groups: tuple[str, ...]) -> list[Passage]:
    if (source and not document.source) or (groups and not document.groups):
        document = replace(document, source=document.source or source, groups=document.groups or groups)
    if not chunk_words or count(document.text) <= 1.5 * chunk_words:
        return [document]
    return [
        replace(document, id=f"{document.id}#{i}", text=text, start=document.start + start, end=document.start + end)
        for i, (text, start, end) in enumerate(chunk(document.title, document.text, chunk_words))
    ]
