"""Chunking: long documents into passages of about 100 words, as DPR and FlashRAG do, but cut at sentence ends.

A chunk is a slice of its document, by character offsets; nothing but white space between chunks is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from wbrag.core.sentences import sentences
from wbrag.core.words import LONGEST, count, spans, unspaced


class Chunk(NamedTuple):
    """A slice of a document: `text == document[start:end]`, in characters."""

    text: str
    start: int
    end: int


class _Piece(NamedTuple):
    start: int
    end: int
    words: int


CUT = "#[0-9]+$"  # how the id of a chunk ends


def document_of(id: str) -> str:
    """The document that a passage was cut from, by the id that ingest gives a chunk; itself where it was not cut."""
    document, cut, number = id.rpartition("#")
    return document if cut and number.isdigit() else id


def chunk(title: str, text: str, words: int = 100) -> Iterator[Chunk]:
    """Cut `text` into consecutive chunks that, with `title`, have at most `words` words.

    The title is embedded with every chunk, so its words count, up to half of `words`. Chunks hold whole sentences and
    are evened out, so that the last is not a stub; only a sentence over the limit is cut, between words. Nothing but
    whitespace between chunks is left out. Raises ValueError when `words` is below 1.
    """
    if words < 1:
        raise ValueError(f"words must be at least 1, got {words}")
    limit = max(words - count(title), words // 2, 1)
    dense = unspaced(text)
    pieces = [piece for span in sentences(text) for piece in _pieces(text, *span, limit, dense)]
    left = sum(piece.words for piece in pieces)
    first = 0
    while first < len(pieces):
        target = left / -(-left // limit)  # what is left, shared evenly over the fewest chunks
        last, size = first, pieces[first].words
        while last + 1 < len(pieces) and _closer(size, size + pieces[last + 1].words, target, limit):
            last += 1
            size += pieces[last].words
        start, end = pieces[first].start, pieces[last].end
        yield Chunk(text[start:end], start, end)
        left -= size
        first = last + 1


def _closer(size: int, grown: int, target: float, limit: int) -> bool:
    return grown <= limit and abs(grown - target) <= abs(size - target)


def _pieces(text: str, start: int, end: int, limit: int, dense: bool) -> Iterator[_Piece]:
    """The sentence text[start:end], in runs of at most `limit` words."""
    words = list(spans(text, start, end, dense))
    first = 0
    while first < len(words):
        full = last = min(first + limit, len(words))
        while last > first and _inside(words, last):
            last -= 1  # not in the middle of a long address, unless it fills the run
        last = last if last > first else full
        yield _Piece(words[first][0], words[last - 1][1], last - first)
        first = last


def _inside(words: list[tuple[int, int]], at: int) -> bool:
    """Whether the word at this place goes on with one that was too long to be one."""
    if at == len(words):
        return False
    (start, end), (following, _) = words[at - 1], words[at]
    return end == following and end - start == LONGEST
