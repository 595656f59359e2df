"""Record readers: streams of raw records from JSON lines, JSON arrays, CSV, Parquet and the Hugging Face hub.

Every stream yields `(where, record)`; `where` says in an error message which record of which file it was.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import ijson
import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.errors import StoreError, UsageError, WbragError
from wbrag.core.io.files import Location, listed, location, opened
from wbrag.data import bounds

Record = dict[str, Any]
Records = Iterator[tuple[str, Record]]


@dataclass(slots=True)
class Input:
    """What a reader reads, and how far it has come. `columns` maps wbrag's field names to the file's own.

    Examples whose golden answers are all blank are left out and counted in `quarantined`.
    `bytes_done` counts bytes of the file as stored (compressed, when it is), of `bytes_total`; both 0 for the hub.
    """

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    unlabelled: bool = False  # questions alone are wanted, whatever answers the file has
    quarantined: int = 0
    bytes_total: int = 0
    finished: int = 0
    raw: BinaryIO | None = None
    where: str = ""  # the record that was read last

    @property
    def bytes_done(self) -> int:
        return self.finished + (self.raw.tell() if self.raw else 0)


@contextmanager
def open_binary(path: str | Location, source: Input | None = None) -> Iterator[BinaryIO]:
    """`path`, decompressed if it ends in .gz, counted in `source`. Raises WbragError for an unreadable file."""
    try:
        where = location(path)
        with where.open("rb") if isinstance(where, Path) else where.open_binary() as raw:
            size = where.stat().st_size
            if source:
                source.raw, source.bytes_total = raw, source.finished + size
            try:
                yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if str(path).endswith(".gz") else raw
            finally:
                if source:
                    source.raw, source.finished = None, source.finished + size
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise WbragError(f"{path}: expected a whole gzip file, found a broken one ({error}); fetch it again") from None
    except UnicodeDecodeError as error:
        raise WbragError(f"{path}: expected UTF-8 text, found {error.reason}; convert the file to UTF-8") from None
    except StoreError:
        raise
    except OSError as error:
        raise WbragError(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def open_text(path: str | Location, source: Input | None = None, newline: str | None = None) -> Iterator[Iterator[str]]:
    """The lines of a text, none of them longer than `bounds.MAX_RECORD`."""
    with open_binary(path, source) as binary, io.TextIOWrapper(binary, "utf-8-sig", newline=newline) as text:
        yield bounds.lines(text, path)


def json_lines(source: Input, path: str | Location | None = None) -> Records:
    """One JSON object per line; blank lines are skipped."""
    path = path or source.path
    with open_text(path, source) as lines:
        for number, line in enumerate(lines, 1):
            if line.isspace():
                continue
            where = f"{path}, line {number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                why = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                raise WbragError(f"{where}: expected JSON, found a malformed line ({why}); mend or drop it") from None
            source.where = where
            yield where, _object(record, where)


def json_items(source: Input, prefix: str) -> Records:
    """The objects under ijson's `prefix` in one big JSON file, without holding the file."""
    with open_binary(source.path, source) as stream:
        try:
            for number, record in enumerate(bounds.items(stream, prefix, source.path), 1):
                source.where = where = f"{source.path}, item {number}"
                yield where, _object(record, where)
        except ijson.JSONError as error:
            reason = str(error).split("\n")[0]
            place = f"{source.path}, before byte {source.bytes_done}"
            raise WbragError(f"{place}: expected JSON, found it malformed ({reason}); is the file whole?") from None


def json_list_or_lines(source: Input) -> Records:
    """A JSON array of objects, or JSON lines: whichever the file's first character says."""
    with open_binary(source.path) as stream:
        head = stream.read(256)
    is_list = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    yield from json_items(source, "item") if is_list else json_lines(source)


def table_lines(source: Input, delimiter: str) -> Records:
    """CSV or TSV with a header row; all values are strings."""
    csv.field_size_limit(bounds.MAX_RECORD)  # the default refuses a document over 128 KiB
    with open_text(source.path, source, newline="") as lines:
        rows = csv.DictReader(lines, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                source.where = where = f"{source.path}, line {rows.line_num}"
                if None in row or None in row.values():
                    found = f"{'more' if None in row else 'fewer'}; check quotes and delimiter"
                    raise WbragError(
                        f"{where}: expected {len(rows.fieldnames or [])} cells, as the header, found {found}"
                    )
                yield where, row
        except csv.Error as error:
            where = f"{source.path}, line {rows.line_num}"
            raise WbragError(f"{where}: expected CSV, found it malformed ({error}); check the quotes") from None


def parquet_rows(source: Input) -> Records:
    """The rows of a Parquet file, or of every `*.parquet` in a folder by name, a thousand at a time."""
    path = location(source.path)
    files = listed(path, "*.parquet") if path.is_dir() else [path]
    if not files:
        raise WbragError(f"{path}: expected *.parquet files in the folder, found none")
    source.bytes_total = sum(file.stat().st_size for file in files)
    for file in files:
        before, number = source.finished, 0
        try:
            with pq.ParquetFile(opened(file)) as table:
                # Vectors are no field of ours, and slow to turn into Python lists.
                names = [field.name for field in table.schema_arrow if not _is_vector(field.type)]
                for batch in table.iter_batches(batch_size=1000, columns=names):
                    for record in batch.to_pylist():
                        number += 1
                        source.where = f"{file}, row {number}"
                        yield source.where, record
                    # Parquet has no read position; the share of rows read stands for it.
                    source.finished = before + file.stat().st_size * number // table.metadata.num_rows
        except StoreError:
            raise
        except (pa.ArrowException, OSError) as error:
            reason = str(error).split("\n")[0]
            raise WbragError(f"{file}: expected a Parquet file, found a broken one ({reason})") from None


def hub_rows(source: Input) -> Records:
    """The rows of a Hugging Face dataset, streamed. `path` is `name[:config[:split]]`; the split is train by default.

    Raises UsageError without the `datasets` package, WbragError when the hub does not give the dataset.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise UsageError('the hf format needs the Hugging Face datasets package: pip install "wbrag[hf]"') from None
    name, config, split = [*source.path.split(":", 2), "", ""][:3]
    try:
        rows = load_dataset(name, config or None, split=split or "train", streaming=True)
        for number, record in enumerate(rows, 1):
            source.where = f"{source.path}, row {number}"
            yield source.where, dict(record)
    except Exception as error:  # the hub, its cache and the dataset's own builder raise whatever they like
        reason = str(error).split("\n")[0] or type(error).__name__
        raise WbragError(
            f"cannot read the Hugging Face dataset {source.path} (name[:config[:split]]): {reason}"
        ) from error


def _is_vector(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _object(record: Any, where: str) -> Record:
    if not isinstance(record, dict):
        raise WbragError(f"{where}: expected a JSON object, found {type(record).__name__}; is it the right format?")
    return record
