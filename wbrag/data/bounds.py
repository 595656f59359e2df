"""Bounds of what is read: no line, record or nesting takes more memory than a machine has, whatever a file unpacks to.

A few kilobytes of brackets, or a few megabytes of gzip, may hold what would otherwise fill gigabytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from wbrag.core.errors import WbragError

MAX_RECORD = 64 << 20  # characters of a line, and of a record in a larger file
CHUNK = 1 << 16  # characters
UNSURE = 16  # last characters of what was read: what is wrong there may only be cut
_SPACE = " \t\r\n"
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")  # what the decoder makes of a byte that is none


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


def not_utf8(text: str) -> str:
    """What is wrong with a piece of `open_text` that holds bytes which are no UTF-8; empty where it holds none."""
    if text.isascii() or not (found := _NOT_UTF8.search(text)):
        return ""
    return f"expected UTF-8 text, found the byte 0x{ord(found[0]) - 0xDC00:x} as character {found.start() + 1}"


def items(text: TextIO, key: str | None, path: object) -> Iterator[tuple[Any, str]]:
    """The items of the JSON array that `text` is or, with a `key`, that the object in `text` has under it.

    With each what is wrong with its characters (`not_utf8`). Raises `ValueError` for what is no such JSON, `WbragError`
    for an item of more than `MAX_RECORD` characters.
    """
    rest = _Rest(text, path)
    if key is not None:
        rest.take("{")
        while rest.value() != key:
            rest.take(":")
            rest.value()
            if rest.take(",}") == "}":
                return
        rest.take(":")
    while True:  # exports in pages are several lists, one after the other
        rest.take("[")
        sign = rest.take("]") if rest.next() == "]" else ","
        while sign == ",":
            yield rest.value(), not_utf8(rest.last)
            sign = rest.take(",]")
        if key is not None or not rest.next():
            return


class _Rest:
    """What is still to be read of a JSON text, of which never much more than one value is held."""

    def __init__(self, text: TextIO, path: object) -> None:
        self.text, self.path = text, path
        self.held, self.at, self.done = "", 0, False
        self.last = ""  # value as it stood

    def next(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            while self.at < len(self.held) and self.held[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.held) or self.done:
                return self.held[self.at : self.at + 1]
            self._read()

    def take(self, wanted: str) -> str:
        """One of the characters `wanted`, which must be next."""
        found = self.next()
        if not found or found not in wanted:
            raise ValueError(f"expected {' or '.join(wanted)}, found {found or 'the end'}")
        self.at += 1
        return found

    def value(self) -> Any:
        """The next value. Held text is doubled until it is whole, so that all of it is parsed twice at most."""
        self.next()
        while True:
            try:
                found, end = _DECODER.raw_decode(self.held, self.at)
            except json.JSONDecodeError as error:
                begun = error.msg.startswith("Unterminated string") or error.pos > len(self.held) - UNSURE
                if self.done or not begun:
                    raise
            else:
                if end < len(self.held) or self.done:  # a number might go on
                    self.last, self.at = self.held[self.at : end], end
                    return found
            self._read()

    def _read(self) -> None:
        self.held = self.held[self.at :]
        self.at = 0
        if len(self.held) > MAX_RECORD:
            raise WbragError(
                f"{self.path}: expected records of at most {MAX_RECORD:,} characters, found a larger one: split the "
                "document, or check that it is the right file"
            )
        more = self.text.read(max(CHUNK, len(self.held)))
        self.held, self.done = self.held + more, not more


_DECODER = json.JSONDecoder(strict=False)  # some exporters leave control characters in texts as they are
