"""Record readers: streams of raw records from JSON lines, JSON arrays, Parquet and the Hugging Face hub.

Every stream yields `(where, record)`; `where` says in an error message which record of which file it was. Lines and
rows that cannot be read are `Input.refuse`d. A folder is read as all its files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.errors import StoreError, UsageError, WbragError
from wbrag.core.io.files import Location, location, opened
from wbrag.data import bounds
from wbrag.data.bounds import not_utf8
from wbrag.data.opening import (
    PARQUET,
    ROWS,
    TEXTS,
    head_of,
    open_lines,
    open_text,
    refuse_all_but_parquet,
)
from wbrag.data.source import Input, Record, Records
from wbrag.data.values import kind_of


def json_records(source: Input) -> Records:
    """Objects of JSON lines or of a JSON array, whichever each file holds; of a Parquet file, its rows."""

    def read(file: Location, head: bytes) -> Records:
        is_array = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1] == b"["  # in UTF-16 too
        return json_items(source, None, file) if is_array else json_lines(source, file)

    return each_file(source, source.files(location(source.path), TEXTS, ROWS), read)


def each_file(source: Input, files: Sequence[Location], read: Callable[[Location, bytes], Records]) -> Records:
    """The records of each file, by its first bytes; of a Parquet file its rows, whatever was expected."""
    for file in files:
        head = head_of(file)
        yield from parquet_rows(source, file) if head.startswith(PARQUET) else read(file, head)
    source.ended()


def json_lines(source: Input, path: Location | None = None) -> Records:
    """One JSON object per line; blank lines are skipped."""
    path = path or location(source.path)
    with open_lines(path, source.began) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            source.values.where = where = f"{path}, line {number}"
            try:
                yield where, _parsed(line, where, number)
            except WbragError as error:
                source.refuse(error, line)
    source.ended()


def _parsed(line: str, where: str, number: int) -> Record:
    if wrong := not_utf8(line):
        raise WbragError(f"{where}: {wrong}; convert the file to UTF-8")
    try:
        return _object(json.loads(line, strict=False), where)
    except (ValueError, RecursionError) as error:
        why = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        several = number == 1 and line.lstrip()[:1] in ("{", "[") and line.rstrip()[-1:] in ("{", "[", ",")
        found = "a value over several lines" if several else f"a malformed line ({why})"
        remedy = "write one object a line, or a list of objects" if several else "mend or drop it"
        raise WbragError(f"{where}: expected JSON, found {found}; {remedy}") from None


def json_items(source: Input, key: str | None = None, path: Location | None = None) -> Records:
    """The objects of an array, which one big JSON file is or has under `key`, without holding the file.

    Where it is malformed nothing after that place can be read.
    """
    path = path or location(source.path)
    number = 0
    with open_text(path, source.began) as text:
        found = bounds.items(text, key, path)
        while True:
            number += 1
            source.values.where = where = f"{path}, item {number}"
            try:
                record, wrong = next(found)
            except StopIteration:
                break
            except (ValueError, RecursionError) as error:  # also where bad records are skipped: it is all that follows
                said = f"expected JSON, found it malformed ({error}), and nothing after it can be read; is it whole?"
                raise WbragError(f"{where}, before byte {source.bytes_done}: {said}") from None
            try:
                if wrong:
                    raise WbragError(f"{where}: {wrong}; convert the file to UTF-8")
                yield where, _object(record, where)
            except WbragError as error:
                source.refuse(error, None if wrong else record)
    source.ended()


def parquet_rows(source: Input, path: Location | None = None) -> Records:
    """The rows of a Parquet file, or of every `*.parquet` below a folder by name, a thousand at a time."""
    files = [path] if path else source.files(location(source.path), ROWS)
    for file in files:
        before, number = source.finished, 0
        if path is None:
            refuse_all_but_parquet(file)
        try:
            with pq.ParquetFile(opened(file)) as table:
                # Vectors are no field of ours, and slow to turn into Python lists.
                names = [field.name for field in table.schema_arrow if not _is_vector(field.type)]
                for batch in table.iter_batches(batch_size=1000, columns=names):
                    for record in _rows(batch):
                        number += 1
                        where = source.values.where = f"{file}, row {number}"
                        if isinstance(record, WbragError):
                            source.refuse(WbragError(f"{where}: {record}"), None)
                        else:
                            yield where, record
                    # Parquet has no read position; the share of rows read stands for it.
                    source.finished = before + file.stat().st_size * number // table.metadata.num_rows
        except StoreError:
            raise
        except (pa.ArrowException, OSError) as error:
            reason = str(error).split("\n")[0]
            raise WbragError(f"{file}: expected a Parquet file, found a broken one ({reason})") from None


def _rows(batch: pa.RecordBatch) -> Iterator[Record | WbragError]:
    """The rows as Python has them, or why it cannot: text that is no UTF-8, a date of the year 0."""
    for place, field in enumerate(batch.schema):
        if field.type in (pa.float16(), pa.float32()):  # 0.1, not 0.10000000149: what it is in its own width
            column = batch.column(place)
            written = column.to_numpy(zero_copy_only=False).astype(str).astype(np.float64)
            batch = batch.set_column(place, field.name, pa.array(written, mask=np.asarray(column.is_null())))
    try:
        yield from batch.to_pylist()
        return
    except (ValueError, OverflowError):
        pass
    for i in range(batch.num_rows):
        try:
            yield from batch.slice(i, 1).to_pylist()
        except (ValueError, OverflowError) as error:
            yield WbragError(f"expected values that can be read, found {' '.join(str(error).split())}; correct them")


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
        at = source.revision or None
        rows = load_dataset(name, config or None, split=split or "train", streaming=True, revision=at)
        for number, record in enumerate(rows, 1):
            source.values.where = f"{source.path}, row {number}"
            yield source.values.where, dict(record)
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
        raise WbragError(f"{where}: expected a JSON object, found {kind_of(record)}; is it the right format?")
    return record
