"""Bounds of what is read: no line, record or nesting takes more memory than a machine has, whatever a file unpacks to.

A few kilobytes of brackets, or a few megabytes of gzip, may hold what would otherwise fill gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

import ijson

from wbrag.core.errors import WbragError

MAX_RECORD = 64 << 20  # characters of a line, bytes of a record in a larger file
MAX_DEPTH = 100  # of lists and objects in one another


def lines(text: TextIO, path: object) -> Iterator[str]:
    """The lines of `text`. Raises `WbragError` for one of more than `MAX_RECORD` characters."""
    number = 0
    while line := text.readline(MAX_RECORD + 1):
        number += 1
        if len(line) > MAX_RECORD:
            raise WbragError(
                f"{path}, line {number}: expected at most {MAX_RECORD:,} characters in a line, found more: split the "
                "document, or check that it is the right file"
            )
        yield line


def items(stream: BinaryIO, prefix: str, path: object) -> Iterator[Any]:
    """What stands under ijson's `prefix`. Raises `WbragError` for a record that is larger or deeper than the bounds."""
    counted = _Counted(stream, path)
    for found in ijson.items(ijson.parse(_shallow(ijson.basic_parse(counted, use_float=True), path)), prefix):
        yield found
        counted.since = 0


class _Counted:
    """A stream that refuses to read on once a record has taken more than its share."""

    def __init__(self, stream: BinaryIO, path: object) -> None:
        self.stream, self.path, self.since = stream, path, 0

    def read(self, size: int = -1) -> bytes:
        found = self.stream.read(size)
        self.since += len(found)
        if self.since > MAX_RECORD:
            raise WbragError(
                f"{self.path}: expected records of at most {MAX_RECORD:,} bytes, found a larger one: split the "
                "document, or check that it is the right file"
            )
        return found


def _shallow(events: Iterator[tuple[str, Any]], path: object) -> Iterator[tuple[str, Any]]:
    """ijson itself takes memory with the square of the depth."""
    depth = 0
    for event in events:
        depth += event[0].startswith("start") - event[0].startswith("end_")
        if depth > MAX_DEPTH:
            raise WbragError(
                f"{path}: expected records of at most {MAX_DEPTH} levels, found deeper ones: is it the right file?"
            )
        yield event
