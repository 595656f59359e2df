"""Record readers: streams of raw records from JSON lines, JSON arrays, CSV, TSV, Parquet and the Hugging Face hub.

Every stream yields `(where, record)`; `where` says in an error message which record of which file it was. Lines and
rows that cannot be read are `Input.refuse`d. A folder is read as all its files.
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ijson
import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.errors import StoreError, UsageError, WbragError
from wbrag.core.io.files import Location, location, opened
from wbrag.data import bounds
from wbrag.data.opening import PARQUET, TABLES, TEXTS, files_of, head_of, not_utf8, open_binary, open_text
from wbrag.data.source import Input, Record, Records
from wbrag.data.values import named

MOST_SPANNED = 1000  # lines of one quoted cell


def json_records(source: Input, path: Location | None = None) -> Records:
    """Objects of JSON lines or of a JSON array, whichever each file holds; of a Parquet file, its rows."""

    def read(file: Location, head: bytes) -> Records:
        is_array = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        return json_items(source, "item", file) if is_array else json_lines(source, file)

    return _files(source, files_of(path or location(source.path), TEXTS, (".parquet",)), read)


def _files(source: Input, files: Sequence[Location], read: Callable[[Location, bytes], Records]) -> Records:
    """The records of each file, by its first bytes; of a Parquet file its rows, whatever was expected."""
    source.bytes_total = sum(file.stat().st_size for file in files)
    for file in files:
        head = head_of(file)
        yield from parquet_rows(source, file) if head.startswith(PARQUET) else read(file, head)
    source.ended()


def json_lines(source: Input, path: Location | None = None) -> Records:
    """One JSON object per line; blank lines are skipped."""
    path = path or location(source.path)
    with open_text(path, source.began) as lines:
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
        return _object(json.loads(line), where)
    except (ValueError, RecursionError) as error:
        why = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        several = number == 1 and line.strip() in ("{", "[")
        found = "a value over several lines" if several else f"a malformed line ({why})"
        remedy = "write one object a line, or a list of objects" if several else "mend or drop it"
        raise WbragError(f"{where}: expected JSON, found {found}; {remedy}") from None


def json_items(source: Input, prefix: str, path: Location | None = None) -> Records:
    """The objects under ijson's `prefix` in one big JSON file, without holding the file."""
    path = path or location(source.path)
    with open_binary(path, source.began) as stream:
        try:
            for number, record in enumerate(bounds.items(stream, prefix, path), 1):
                source.values.where = where = f"{path}, item {number}"
                try:
                    yield where, _object(record, where)
                except WbragError as error:
                    source.refuse(error, record)
        except ijson.JSONError as error:
            reason = str(error).split("\n")[0]
            place = f"{path}, before byte {source.bytes_done}"
            raise WbragError(f"{place}: expected JSON, found it malformed ({reason}); is the file whole?") from None
    source.ended()


def csv_rows(source: Input) -> Records:
    """CSV with a header row, or with the names of `source.header`; all values are strings."""

    def read(file: Location, head: bytes) -> Records:
        with open_text(file, source.began, newline="") as lines:
            yield from _table(source, file, _quoted(source, file, lines))

    return _files(source, files_of(location(source.path), TABLES), read)


def tsv_rows(source: Input) -> Records:
    """The same of tab-separated lines, in which a quotation mark is one, but around a whole cell as DPR writes it."""

    def read(file: Location, head: bytes) -> Records:
        with open_text(file, source.began, newline="\n") as lines:
            yield from _table(source, file, _tabbed(lines, source.delimiter or "\t", len(source.header)))

    return _files(source, files_of(location(source.path), TABLES), read)


def _tabbed(lines: Iterator[str], delimiter: str, width: int) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line, or of the lines that one quoted cell spans, and the number of the first."""
    ahead: deque[str] = deque()
    number = 0
    while line := ahead.popleft() if ahead else next(lines, ""):
        number += 1
        cells, used = line.rstrip("\r\n").split(delimiter), 0
        opens = cells[-1][:1] == '"' and cells[-1].count('"') % 2
        spanned = _spanning(line, lines, ahead, delimiter, width) if opens and len(cells) <= width else None
        cells, used = spanned or ([_unmarked(cell) for cell in cells], 0)
        width = width or len(cells)
        if cells != [""]:
            yield number, cells
        number += used


def _spanning(
    line: str, lines: Iterator[str], ahead: deque[str], delimiter: str, width: int
) -> tuple[list[str], int] | None:
    """The cells of a row that goes on in the next lines, and how many of these; None where its mark is only a mark."""
    for used in range(1, MOST_SPANNED):
        if len(ahead) < used:
            ahead.append(next(lines, ""))
        more = ahead[used - 1]
        if not more or len(line) > bounds.MAX_RECORD or len(more.split(delimiter)) == width > 1:
            return None
        line += more
        try:
            [cells] = csv.reader(io.StringIO(line, newline=""), delimiter=delimiter, strict=True)
        except (csv.Error, ValueError):
            continue
        if len(cells) == width:
            for _ in range(used):
                ahead.popleft()
            return cells, used
    return None


def _quoted(source: Input, file: Location, lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(bounds.MAX_RECORD)  # the default refuses a document over 128 KiB
    delimiter = source.delimiter or ("\t" if ".tsv" in file.name.lower() else ",")
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            where = source.values.where = f"{file}, line {rows.line_num}"
            found = f"expected CSV, found it malformed ({error})"
            source.refuse(WbragError(f"{where}: {found}; check the quotes, or read it as tsv"), None)
            continue
        if cells:
            yield rows.line_num, cells


def _unmarked(cell: str) -> str:
    """The cell, without the marks around it where its own marks are all doubled."""
    if len(cell) < 2 or not cell[:1] == cell[-1:] == '"':
        return cell
    inner = cell[1:-1]
    return cell if '"' in inner.replace('""', "") else inner.replace('""', '"')


def _table(source: Input, file: Location, rows: Iterable[tuple[int, list[str]]]) -> Records:
    header = list(source.header)
    for number, cells in rows:
        where = source.values.where = f"{file}, line {number}"
        if not header:
            header = _header(source, where, cells)
            continue
        try:
            if wrong := next(filter(None, map(not_utf8, cells)), ""):
                raise WbragError(f"{where}: {wrong}; convert the file to UTF-8")
            if len(cells) != len(header):
                found = f"found {'more' if len(cells) > len(header) else 'fewer'}: {len(cells)}"
                remedy = "check quotes and --delimiter" if not source.header else "check --header and --delimiter"
                raise WbragError(f"{where}: expected {len(header)} cells, as the header, {found}; {remedy}")
        except WbragError as error:
            source.refuse(error, cells)
            continue
        yield where, dict(zip(header, cells, strict=True))


def _header(source: Input, where: str, cells: list[str]) -> list[str]:
    repeated = [name for i, name in enumerate(cells) if name in cells[:i]]
    if repeated:
        raise WbragError(
            f"{where}: expected a header of different names, found {named(repeated[:1])} twice; "
            "name the columns of a file without a header with --header id,text"
        )
    if len(cells) == 1 and not source.delimiter:
        other = next((f"--delimiter {name}" for name, sign in _OTHER_SIGNS.items() if sign in cells[0]), "")
        if other:
            raise WbragError(f"{where}: expected a header of several columns, found {named(cells)}; try {other}")
    return cells


_OTHER_SIGNS = {"tab": "\t", "semicolon": ";", "pipe": "|", "comma": ","}


def parquet_rows(source: Input, path: Location | None = None) -> Records:
    """The rows of a Parquet file, or of every `*.parquet` below a folder by name, a thousand at a time."""
    files = files_of(path or location(source.path), (".parquet", ".pq")) if path is None else [path]
    source.bytes_total = max(source.bytes_total, sum(file.stat().st_size for file in files))
    for file in files:
        before, number = source.finished, 0
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
        rows = load_dataset(name, config or None, split=split or "train", streaming=True)
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
        raise WbragError(f"{where}: expected a JSON object, found {type(record).__name__}; is it the right format?")
    return record
