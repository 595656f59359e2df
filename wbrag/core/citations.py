"""Citations in prose: numbers in brackets that name documents, counted as a reader comes upon them.

Models write `[1]`, `[1, 2]`, `[Doc 1]` or `【1】`: all become `[1]`, and what names no document goes with the space
before it. The document that is cited first is number 1, whichever it was in the prompt: front ends list sources in the
order in which they come, and take a number for the place in that list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_MARK = re.compile(
    r"[^\S\n]{0,4}[\[【]\s{0,2}(?:(?:docs?|documents?|sources?)\b\.?\s{0,2})?#?"
    r"(\d{1,4}(?:\s{0,2}[,;&–-]\s{0,2}(?:(?:docs?|documents?)\s{0,2})?\d{1,4}){0,15})\s{0,2}(?:†[^\]】\n]{0,40})?[\]】]",
    re.IGNORECASE,
)
_RANGE = re.compile(r"(?<!\d)(\d{1,4})\s{0,4}[–-]\s{0,4}(\d{1,4})(?!\d)")
_PLAIN = re.compile(r"\[(\d{1,4})\]")
HELD = 80  # characters after an opening bracket, while it may still become a citation


def clean(text: str, documents: int) -> str:
    """`text` with the citations of documents 1 to `documents`, each in brackets of its own, and no others."""
    number_of = {document: number for number, document in enumerate(order(text, documents), 1)}

    def marks(found: re.Match[str]) -> str:
        numbers = [number_of[n] for n in _numbers(found[1]) if n in number_of]
        before = found[0][: len(found[0]) - len(found[0].lstrip())]
        return before + "".join(f"[{n}]" for n in numbers) if numbers else ""

    return _MARK.sub(marks, text)


def order(text: str, documents: int) -> list[int]:
    """Of documents 1 to `documents` first those that `text` cites, in the order in which it does, then the others."""
    named = (n for found in _MARK.finditer(text) for n in _numbers(found[1]) if 1 <= n <= documents)
    return list(dict.fromkeys([*named, *range(1, documents + 1)]))


def cited(text: str) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of every citation of a cleaned text."""
    for found in _PLAIN.finditer(text):
        yield int(found[1]), found.start(), found.end()


def _numbers(text: str) -> list[int]:
    """`1, 3-5` as numbers."""
    ends = [(int(a), int(b)) for a, b in _RANGE.findall(text)]
    wide = [n for a, b in ends if 0 <= b - a < 16 for n in range(a, b + 1)]
    return sorted({*wide, *map(int, re.findall(r"\d+", text))})


class ProseReader:
    """Prose that comes in pieces, its citations checked: `feed` returns what is certain, `end` the rest."""

    done = False  # it is heard to its end

    def __init__(self, documents: Callable[[], int]) -> None:
        """`documents`: how many there are, asked once there is text."""
        self._documents, self._text, self._shown = documents, "", 0

    def feed(self, piece: str) -> str:
        self._text += piece
        return self._more(self._text[: _certain(self._text)])

    def end(self) -> str:
        return self._more(self._text.rstrip())

    def _more(self, text: str) -> str:
        ready = read_prose(text, self._documents())
        more = ready[self._shown :]
        self._shown = max(self._shown, len(ready))
        return more


def read_prose(text: str, documents: int) -> str:
    """What a model wrote, without the space around it, and its citations checked."""
    return clean(text.strip(), documents)


def _certain(text: str) -> int:
    """How much of it stays whatever follows: not an open bracket, nor the space that it may take along."""
    opened = max(text.rfind("["), text.rfind("【"))
    closed = max(text.rfind("]"), text.rfind("】"))
    end = opened if opened > closed and len(text) - opened < HELD else len(text)
    return len(text[:end].rstrip())
