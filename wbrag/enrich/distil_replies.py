"""Replies of the distiller's model: evidence lines and the rewritten unit, as the families really write them.

Evidence is only what occurs verbatim in a document, up to white space (Natural Questions sets it around every mark),
case and the shape of quotes; it is kept as the document has it. A line may be numbered, bulleted, bold or quoted, hold
several sentences, name its document in any of the usual ways, repeat its title, or name none or the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from wbrag.core.sentences import sentences
from wbrag.core.types import Evidence, Hit

MIN_PART_WORDS = 4  # words that a part of a sentence needs to count as evidence: any single word occurs somewhere
MIN_UNIT_WORDS = 8  # of a paragraph without a title

_MARK = re.compile(r"^\s*(?:[-*•>]+\s+|\(?\d{1,2}[.):]\s+)*")  # of a list
_NAME = r"(?:doc|document|passage|source)\.?\s*"
_SOURCE = re.compile(  # [Doc 1] | Doc 1: | (Document 1) | [1] | Doc 1(Title: ..)
    rf"^(?:from\s+)?(?:(?:{_NAME})?[\[(]\s*(?:{_NAME})?#?(\d{{1,3}})(?:\s*,\s*(?:{_NAME})?\d{{1,3}})*\s*[\])]"
    rf"|{_NAME}#?(\d{{1,3}})(?=\s*[(:\-–—]|\s+[A-Z]))\s*",
    re.IGNORECASE,
)
_TITLE = re.compile(r"^\(\s*Title\s*:", re.IGNORECASE)
_AFTER = re.compile(rf"(?<!\s)\s*+[\[(]{_NAME}(\d{{1,3}})[\])]\.?\s*$", re.IGNORECASE)
_COLON = re.compile(r"^\s*[:\-–—]\s*")
_HEADING = re.compile(r"^\s*#+\s+|\*\*|^\s*(?:-{3,}|`{3,}\w*)\s*$")
_QUOTES = str.maketrans("“”„«»‘’`", '"""""\'\'\'')
_LABEL = re.compile(
    r"^(?:(?:supporting |retrieval |high-utility )?(?:knowledge|document|paragraph|passage|text|content|body|summary)"
    r"(?: paragraph| text)?|title(?: line)?)\s*:\s*",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^(?:sure|certainly|of course|okay|here(?:['’]s| is| are)|below is|the following)\b.*:$", re.IGNORECASE
)


def parse_evidence(text: str, retained: Sequence[Hit], limit: int) -> tuple[Evidence, ...]:
    """The sentences of `retained` that the reply points at, in its order; whatever is not verbatim is dropped."""
    documents = [_Document(hit) for hit in retained]
    found: dict[Evidence, None] = {}
    for line in text.splitlines():
        number, said = _line(line)
        order = sorted(range(len(documents)), key=lambda i: i + 1 != number)  # the one that is named first
        for sentence in _searched(said):
            at = next(((i, verbatim) for i in order if (verbatim := documents[i].find(sentence))), None)
            if at is not None:
                found[Evidence(retained[at[0]].id, at[1])] = None
                if sentence == said:
                    break
    return tuple(found)[:limit]


def parse_unit(text: str, *, cut: bool = False) -> tuple[str, str]:
    """Title line and paragraph; of a paragraph that the token limit cut, without its unfinished last sentence.

    A reply whose first line is a whole sentence has no title, and one of a few words is none of both. A sentence that
    is said again, as small models do without end, stands once.
    """
    lines = [plain for line in text.splitlines() if (plain := _unmarked(line)) and not _LABEL.fullmatch(f"{plain} ")]
    if len(lines) > 1 and _PREAMBLE.match(lines[0]) and not _LABEL.match(lines[0]):
        lines = lines[1:]
    first = lines[0] if lines else ""
    told = _LABEL.sub("", first)
    long = len(told.split()) >= MIN_UNIT_WORDS or (len(told) >= 3 * MIN_UNIT_WORDS and not told.isascii())
    is_sentence = told == first and long and (told[-1:] in ".!。" or len(lines) == 1)
    title, body = ("", [told, *lines[1:]]) if is_sentence else (_quoted(told), lines[1:])
    return (title, paragraph) if (paragraph := _paragraph(body, cut)) else ("", "")


def _paragraph(lines: Sequence[str], cut: bool) -> str:
    """Each sentence once, up to the last whole one where the reply was `cut`, or where nothing ended."""
    text = one_line(" ".join(_LABEL.sub("", line) for line in lines))
    spans = sentences(text)
    if cut and spans and text[-1:] not in ".!?。":
        spans = spans[:-1]
    return " ".join(dict.fromkeys(text[start:end] for start, end in spans))


def one_line(text: str) -> str:
    """`text` with single spaces."""
    return " ".join(text.split())


class _Document:
    """A document's text, to be searched without regard to white space, case and quotes."""

    def __init__(self, hit: Hit) -> None:
        self.text = one_line(hit.text)
        self.folded, self.places = _folded(self.text)
        self.whole = {_folded(s)[0]: s for start, end in sentences(hit.text) if (s := one_line(hit.text[start:end]))}

    def find(self, sentence: str) -> str | None:
        """The document's own words for `sentence`, where it has them."""
        wanted, _ = _folded(sentence)
        if wanted in self.whole:
            return self.whole[wanted]
        for words in dict.fromkeys((wanted, wanted.rstrip(".…"))):
            if len(sentence.split()) >= MIN_PART_WORDS and (at := self._find_words(words)) >= 0:
                return self.text[self.places[at] : self.places[at + len(words) - 1] + 1]
        return None

    def _find_words(self, words: str) -> int:
        """Where they stand, from the beginning of a word to the end of one; -1 for nowhere."""
        at = self.folded.find(words) if words else -1
        while at >= 0:
            start, end = self.places[at], self.places[at + len(words) - 1] + 1
            inside = (start and _joins(self.text, start)) or (end < len(self.text) and _joins(self.text, end))
            if not inside:
                return at
            at = self.folded.find(words, at + 1)
        return -1


def _joins(text: str, at: int) -> bool:
    """Whether a word goes on from before this place to after it."""
    return text[at - 1].isalnum() and text[at].isalnum()


def _searched(said: str) -> list[str]:
    """What to look for: the line whole, then its sentences, where it has several."""
    parts = [said[start:end] for start, end in sentences(said)]
    return [said, *parts] if len(parts) > 1 else [said] if said else []


def _line(line: str) -> tuple[int, str]:
    """The number of the document that a line names, 0 for none, and its sentence."""
    rest = _MARK.sub("", line.replace("**", "")).strip()
    number = 0
    if source := _SOURCE.match(rest):
        number, rest = int(source[1] or source[2]), rest[source.end() :]
        rest = _after_title(rest) if _TITLE.match(rest) else rest
        rest = _COLON.sub("", rest)
    elif after := _AFTER.search(rest):
        number, rest = int(after[1]), rest[: after.start()]
    return number, _quoted(one_line(rest))


def _after_title(text: str) -> str:
    """What follows `(Title: ..)`, whose brackets may hold brackets."""
    depth = 0
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return text[at + 1 :]
    return text


def _unmarked(line: str) -> str:
    """A line of a unit without marks of headings and emphasis."""
    return one_line(_HEADING.sub("", line))


def _quoted(text: str) -> str:
    """The words inside quotes, where quotes hold all of it."""
    plain = text.translate(_QUOTES)
    if len(text) > 1 and plain[0] == '"' and plain[-1] == '"' and '"' not in plain[1:-1]:
        return text[1:-1].strip()
    return text


def _folded(text: str) -> tuple[str, list[int]]:
    """As it is compared, without white space, and the place of each of its characters."""
    kept = [
        (low if len(low := c.lower()) == 1 else c, i) for i, c in enumerate(text.translate(_QUOTES)) if not c.isspace()
    ]
    return "".join(c for c, _ in kept), [i for _, i in kept]
