"""Terminal rendering: a verb's result as tables that people can read.

It takes what verbs return: a text, a record, a list of records, or tables with titles. Cells are data: nothing in them
is markup, and nothing is an order to the terminal.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from wbrag.core.plain import plain

LONG = 60  # characters: a list of sentences is one a line


def show(result: Any) -> None:
    """Print a verb's result: a list as a table with one row each, a record as name and value."""
    console = Console()
    if isinstance(result, str):
        print(plain(result), end="")
    elif isinstance(result, list) and result and isinstance(result[0], tuple):
        for title, head, rows in result:
            console.print(_titled(title, head, rows))
    elif isinstance(result, list):
        console.print(_rows(result) if result else "nothing yet")
    else:
        console.print(_record(result))


def _titled(title: str, head: list[str], rows: list[list[str]]) -> RichTable:
    table = RichTable(title=_text(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in head:
        table.add_column(_text(name), overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _rows(records: list[dict[str, Any]]) -> RichTable:
    table = RichTable(box=None, pad_edge=False)
    names = [name for name in records[0] if name != "vector"]
    for name in names:
        table.add_column(_text(name), overflow="fold", no_wrap=name in ("id", "score"))
    for record in records:
        table.add_row(*(_text(_cell(record[name])) for name in names))
    return table


def _record(record: dict[str, Any]) -> RichTable:
    table = RichTable(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in record.items():
        table.add_row(_text(name), _text(_cell(value)))
    return table


def _text(cell: str) -> Text:
    return Text(plain(cell))


def _cell(value: Any) -> str:
    if value is None or value in ([], (), {}):
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if type(value) is int and abs(value) >= 100_000:  # a port or a year is no quantity
        return f"{value:,}"
    if isinstance(value, dict):
        return "  ".join(f"{name} {_cell(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        joiner = "\n" if any(isinstance(part, dict) or len(str(part)) > LONG for part in value) else ", "
        return joiner.join(_cell(part) for part in value)
    return str(value)
