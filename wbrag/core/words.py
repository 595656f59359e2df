"""Words: their spans and how many there are, also in scripts that are written without spaces.

There a word is so many characters as stand for about one English word: two of Chinese, Japanese kana or CJK
punctuation, four of Thai, Lao, Khmer, Burmese or Tibetan with the marks on them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Blocks of https://www.unicode.org/Public/UCD/latest/ucd/Blocks.txt; U+3000 is a space.
_IDEOGRAPHIC = (
    "\u2e80-\u2fdf\u3001-\u303f\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff9f"
    "\U00020000-\U0003ffff"
)
_SYLLABIC = ((0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF))
_SPOKEN = "".join(f"{chr(first)}-{chr(last)}" for first, last in _SYLLABIC)
_MARKS = "".join(
    chr(c) for first, last in _SYLLABIC for c in range(first, last + 1) if unicodedata.category(chr(c)).startswith("M")
)
_CLOSING = "、。，．！？：；」』）】〉》"

_UNSPACED = re.compile(f"[{_IDEOGRAPHIC}{_SPOKEN}]")
_WORD = re.compile(
    f"[{_IDEOGRAPHIC}]{{1,2}}[{_CLOSING}]*+|(?:[{_SPOKEN}][{_MARKS}]*+){{1,4}}|[^\\s{_IDEOGRAPHIC}{_SPOKEN}]+"
)
_TOKEN = re.compile(f"[{_IDEOGRAPHIC}]|[{_SPOKEN}][{_MARKS}]*+|[^\\s{_IDEOGRAPHIC}{_SPOKEN}]+")
_SPACED = re.compile(r"\S+")


def spans(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """The words of `text[start:end]` as character spans of `text`, in order; they cover everything but white space."""
    pattern = _WORD if unspaced(text) else _SPACED
    return (match.span() for match in pattern.finditer(text, start, len(text) if end is None else end))


def count(text: str) -> int:
    """How many words `text` has."""
    return sum(1 for _ in _WORD.finditer(text)) if unspaced(text) else len(text.split())


def characters(text: str) -> list[str]:
    """The tokens of `text` for measures of overlap: words, and of scripts without spaces single characters."""
    return _TOKEN.findall(text) if unspaced(text) else text.split()


def unspaced(text: str) -> bool:
    """Whether a script that is written without spaces occurs in `text`."""
    return not text.isascii() and _UNSPACED.search(text) is not None
