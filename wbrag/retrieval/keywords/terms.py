"""Terms: the words of a text in any script, folded, and the 64-bit number that stands for a word in an index.

Numbers need no vocabulary that shards share: two words of 10 million have one number with a chance of 3 in a million.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

# Scripts that write no spaces: Thai, Lao, Burmese, Khmer, kana and the ideographs.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)


class _Breaks(dict[int, str]):
    """Punctuation, symbols and control characters part words; letters, their marks and digits make them."""

    def __missing__(self, character: int) -> str:
        found = chr(character)
        self[character] = " " if unicodedata.category(found)[0] in "PSZC" else found
        return self[character]


_BREAKS = _Breaks()


def terms(text: str) -> list[str]:
    """The words of `text` in their order, in lower case; of scripts without spaces, pairs of characters."""
    found: list[str] = []
    for word in unicodedata.normalize("NFKC", text).casefold().translate(_BREAKS).split():
        if word.isascii():
            found.append(word)
            continue
        for piece in filter(None, _UNSPACED.split(word)):
            pairs = _UNSPACED.match(piece) and len(piece) > 1
            found += [piece[i : i + 2] for i in range(len(piece) - 1)] if pairs else [piece]
    return found


def numbers(words: list[str]) -> npt.NDArray[np.uint64]:
    """A number for each word, the same on every machine."""
    return np.frombuffer(b"".join(blake2b(word.encode(), digest_size=8).digest() for word in words), "<u8")
