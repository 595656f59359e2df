"""Support: the sentences of an answer that its documents do not bear out, marked for the reader.

Names, numbers, dates and words are compared as in the check of units (`wbrag.units.checks.grounding`), which is made
for English: with the documents that a sentence cites, or where it cites none with all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from wbrag.core.citations import ProseReader, cited, order
from wbrag.core.sentences import sentences
from wbrag.core.types import Hit, Passage
from wbrag.units.checks.grounding import held_by

LEAST = 0.5  # of a sentence's words
MARK = re.compile(r"(?<!\s)\s*+\[\d{1,4}\]")
# Of what is not there a document says nothing: "The documents do not say when."
ABOUT_DOCUMENTS = re.compile(r"\b(?:documents?|sources?|archive|information|context)\b", re.IGNORECASE)
DENIED = re.compile(r"\b(?:not|no|nothing|cannot|neither|nor)\b|n't\b", re.IGNORECASE)


def unsupported(text: str, hits: Sequence[Hit], start: int = 0) -> Iterator[tuple[int, int]]:
    """The character spans of such sentences in `text[start:]`; `[n]` in them is `hits[n - 1]`."""
    for first, end in sentences(text[start:]):
        first, end = first + start, end + start
        sentence = text[first:end]
        named = [hits[number - 1] for number, _, _ in cited(sentence) if number <= len(hits)]
        bare = MARK.sub("", sentence)
        if not (ABOUT_DOCUMENTS.search(bare) and DENIED.search(bare)) and not _borne_out(bare, named or hits):
            yield first, end


def marked(text: str, hits: Sequence[Hit], mark: str) -> str:
    """`text` with `mark` after each such sentence."""
    pieces, at = [], 0
    for _, end in unsupported(text, hits):
        pieces += [text[at:end], " ", mark]
        at = end
    return "".join([*pieces, text[at:]])


class MarkingReader:
    """What `ProseReader` reads, sentence by sentence, marked; together it is `marked` of the whole."""

    done = False

    def __init__(self, hits: Callable[[], Sequence[Hit]], mark: str) -> None:
        """`hits`: the documents as the prompt has them, asked once there is text."""
        self._hits, self._mark, self._prose = hits, mark, ProseReader(lambda: len(hits()))
        self._raw, self._text, self._shown = "", "", 0

    def feed(self, piece: str) -> str:
        self._raw += piece
        self._text += self._prose.feed(piece)
        closed = sentences(self._text[self._shown :])[:-1]  # one is whole where another has begun
        return self._more(self._shown + closed[-1][1]) if closed else ""

    def end(self) -> str:
        self._text += self._prose.end()
        return self._more(len(self._text))

    def _more(self, end: int) -> str:
        hits, start = self._hits(), self._shown
        ranked = [hits[document - 1] for document in order(self._raw, len(hits))]
        pieces, self._shown = [], end
        for _, last in unsupported(self._text[:end], ranked, start):
            pieces += [self._text[start:last], " ", self._mark]
            start = last
        return "".join([*pieces, self._text[start:end]])


def _borne_out(sentence: str, documents: Sequence[Hit]) -> bool:
    sources = [Passage(hit.id, hit.title, hit.text) for hit in documents]
    [(share, missing)] = held_by([sentence], sources)
    return not missing and share >= LEAST
