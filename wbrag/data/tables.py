"""Tables of text: CSV and TSV as they are found, with and without a header.

CSV quotes its cells. In TSV, as collections for retrieval are published, a quotation mark is a mark, but around a whole
cell whose own marks are doubled; only such a cell may span lines or hold a tab.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import fields

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, location
from wbrag.core.types import Example, Passage
from wbrag.data import bounds
from wbrag.data.bounds import not_utf8
from wbrag.data.opening import TABLES, open_lines
from wbrag.data.readers import each_file
from wbrag.data.source import DELIMITERS, Input, Records
from wbrag.data.values import named

MOST_SPANNED = 1000  # lines of one quoted cell of a TSV
MOST_KEPT = 10_000  # characters of a malformed row
OURS = {field.name for record in (Passage, Example) for field in fields(record)} | {"contents"}
NULLS = frozenset(["\\N", "nan", "NaN", "<NA>", "NaT"])  # as databases and pandas write nothing
WORDS_FOR_NOTHING = frozenset(["NULL", "null", "None"])  # which may also be an answer
FLOAT_ID = re.compile(r"-?\d{1,15}\.0")  # what pandas makes of an integer beside nothing

Rows = Iterator[tuple[int, list[str]]]  # with the number of the line that a row begins in


def csv_rows(source: Input) -> Records:
    """CSV with a header row, or with the names of `source.header`; all values are strings."""

    def read(file: Location, head: bytes) -> Records:
        with open_lines(file, source.began, newline="") as lines:
            yield from _table(source, file, _quoted(source, file, _Lines(lines)))

    return each_file(source, source.files(location(source.path), TABLES), read)


def tsv_rows(source: Input) -> Records:
    """The same of tab-separated lines."""

    def read(file: Location, head: bytes) -> Records:
        newline = None if b"\r" in head and b"\n" not in head else "\n"
        with open_lines(file, source.began, newline) as lines:
            yield from _table(source, file, _tabbed(_Lines(lines), source.delimiter or "\t", len(source.header)))

    return each_file(source, source.files(location(source.path), TABLES), read)


class _Lines:
    """Lines that can be given back; `number` is that of the last one taken."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines, self.again, self.number = lines, deque[str](), 0
        self.taken: list[str] = []  # since the row began

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else next(self.lines)
        self.number += 1
        self.taken.append(line)
        return line

    def give_back(self, but: int) -> None:
        """All that was taken since the row began, but the first so many lines."""
        self.number -= len(self.taken) - but
        self.again.extendleft(reversed(self.taken[but:]))
        del self.taken[but:]


def _quoted(source: Input, file: Location, lines: _Lines) -> Rows:
    csv.field_size_limit(bounds.MAX_RECORD)  # the default refuses a document over 128 KiB
    delimiter = source.delimiter or ("\t" if ".tsv" in file.name.lower() else ",")
    if (first := next(lines, "")).startswith("sep=") and len(first.strip()) == 5:  # Excel's own
        delimiter = first[4]
    else:
        lines.give_back(0)
    while True:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        lines.taken.clear()
        began = lines.number + 1
        try:
            for cells in rows:
                if cells:
                    yield began, cells
                lines.taken.clear()
                began = lines.number + 1
            return
        except csv.Error as error:
            where = source.values.where = f"{file}, line {began}"
            lines.give_back(1)  # an open quote took what follows, maybe all of it
            found = f"expected CSV, found it malformed ({error})"
            refusal = WbragError(f"{where}: {found}; check the quotes, or read it with --format tsv")
            if began == 1 and not source.header:
                raise refusal from None  # without a header nothing can be read
            source.refuse(refusal, "".join(lines.taken)[:MOST_KEPT])


def _tabbed(lines: _Lines, delimiter: str, width: int) -> Rows:
    for line in lines:
        began = lines.number
        cells = line.rstrip("\r\n").split(delimiter)
        if (width and len(cells) != width) or cells[-1][:1] == '"':
            spanned = _spanning(lines, delimiter, width) if '"' in line else None
        else:
            spanned = None
        cells = spanned or [_unmarked(cell) for cell in cells]
        width = width or len(cells)
        if line.strip():
            yield began, cells
        lines.taken.clear()


def _spanning(lines: _Lines, delimiter: str, width: int) -> list[str] | None:
    """The cells of a row with quoted ones, to the line where its marks are even; None where a mark is only a mark."""
    marks, size = lines.taken[0].count('"'), 0
    while marks % 2 and size <= bounds.MAX_RECORD and len(lines.taken) <= MOST_SPANNED:
        line = next(lines, "")
        if not line or len(line.split(delimiter)) == width > 1:  # a row of its own
            break
        marks, size = marks + line.count('"'), size + len(line)
    if marks % 2:
        lines.give_back(1)
        return None
    try:
        [cells] = csv.reader(io.StringIO("".join(lines.taken), newline=""), delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        cells = []
    if len(cells) == width:
        return cells
    lines.give_back(1)
    return None


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
        wrong = next(filter(None, map(not_utf8, cells)), "")
        if not header and not wrong:
            header = _header(source, where, cells)
            continue
        try:
            if wrong:
                raise WbragError(f"{where}: {wrong}; convert the file to UTF-8")
            if len(cells) != len(header):
                found = f"found {'more' if len(cells) > len(header) else 'fewer'}: {len(cells)}"
                remedy = "check quotes and --delimiter" if not source.header else "check --header and --delimiter"
                raise WbragError(f"{where}: expected {len(header)} cells, as the header, {found}; {remedy}")
        except WbragError as error:
            if not header:
                raise  # without a header nothing can be read
            source.refuse(error, cells)
            continue
        yield where, {name: _cell(source, name, cell) for name, cell in zip(header, cells, strict=True)}


def _cell(source: Input, name: str, cell: str) -> str | None:
    """What a cell holds; nothing, however it is written, is None."""
    if cell in NULLS or (cell in WORDS_FOR_NOTHING and name != source.columns.get("golden_answers", "golden_answers")):
        return None
    is_id = name == source.columns.get("id", "id")
    return cell.removesuffix(".0") if is_id and FLOAT_ID.fullmatch(cell) else cell


def _header(source: Input, where: str, cells: list[str]) -> list[str]:
    """The names of the columns; wbrag's own fields are known in capitals too."""
    names = [name.strip() for name in cells]
    repeated = [name for i, name in enumerate(names) if name and name in names[:i]]
    if repeated:
        raise WbragError(
            f"{where}: expected a header of different names, found {named(repeated[:1])} twice; "
            "name the columns of a file without a header with --header id,text"
        )
    if len(names) == 1 and not source.delimiter:
        other = next((name for name, sign in DELIMITERS.items() if sign != " " and sign in names[0]), "")
        if other:
            remedy = "--format csv" if source.format == "tsv" and other == "comma" else f"--delimiter {other}"
            raise WbragError(f"{where}: expected a header of several columns, found {named(names)}; try {remedy}")
    known = [name.casefold() if name.casefold() in OURS else name for name in names]
    return known if len(set(filter(None, known))) == len(list(filter(None, known))) else names
