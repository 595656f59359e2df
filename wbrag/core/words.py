"""Words: their spans and how many there are, also in scripts that are written without spaces.

There a word is so many characters as stand for about one English word: two of Chinese, Japanese, Yi or CJK
punctuation, four of Thai, Lao, Khmer, Burmese, Tibetan or Javanese with the marks on them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

GLOSSES = 0.2  # share of a text's characters up to which they are names and glosses in it
LONGEST = 40  # characters of a word: what goes on without a space is data, or a script that is not listed here

# Blocks of https://www.unicode.org/Public/UCD/latest/ucd/Blocks.txt; U+3000 is a space.
IDEOGRAPHIC = (
    "\u2e80-\u2fdf\u3001-\u303f\u3040-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\uff01-\uff9f"
    "\U00020000-\U0003ffff"
)
_SYLLABIC = ((0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1A20, 0x1AAF), (0xA980, 0xA9DF))
_SPOKEN = "".join(f"{chr(first)}-{chr(last)}" for first, last in _SYLLABIC)
_MARKS = "".join(
    chr(c) for first, last in _SYLLABIC for c in range(first, last + 1) if unicodedata.category(chr(c)).startswith("M")
)
_CLOSING = "、。，．！？：；」』）】〉》"

_UNSPACED = re.compile(f"[{IDEOGRAPHIC}{_SPOKEN}]")
_WORD = re.compile(
    f"[{IDEOGRAPHIC}]{{1,2}}[{_CLOSING}]*+|(?:[{_SPOKEN}][{_MARKS}]*+){{1,4}}|"
    f"[^\\s{IDEOGRAPHIC}{_SPOKEN}]{{1,{LONGEST}}}"
)
_TOKEN = re.compile(f"[{IDEOGRAPHIC}]|[{_SPOKEN}][{_MARKS}]*+|[^\\s{IDEOGRAPHIC}{_SPOKEN}]+")
_SPACED = re.compile(rf"\S{{1,{LONGEST}}}")


def spans(text: str, start: int = 0, end: int | None = None, dense: bool | None = None) -> Iterator[tuple[int, int]]:
    """The words of `text[start:end]` as character spans of `text`, in order; they cover everything but white space.

    `dense`: whether `text` is `unspaced`, for whoever asks for many parts of one.
    """
    pattern = _WORD if (unspaced(text) if dense is None else dense) else _SPACED
    return (match.span() for match in pattern.finditer(text, start, len(text) if end is None else end))


def count(text: str) -> int:
    """How many words `text` has."""
    if unspaced(text):
        return sum(1 for _ in _WORD.finditer(text))
    return sum(-(-len(word) // LONGEST) for word in text.split())


def characters(text: str) -> list[str]:
    """The tokens of `text` for measures of overlap: words, and of scripts without spaces single characters."""
    return text.split() if text.isascii() else _TOKEN.findall(text)


def unspaced(text: str) -> bool:
    """Whether `text` is in a script that is written without spaces; a few names in such a one do not make it so."""
    return not text.isascii() and len(_UNSPACED.findall(text)) > GLOSSES * len(text)
