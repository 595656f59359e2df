"""Replies of the distiller's model: evidence lines and the rewritten unit, as the families really write them.

Evidence is only what occurs verbatim in a document, up to white space, case and the shape of quotes; it is kept as the
document has it. A line may be numbered, bulleted, bold or quoted, name its document in any of the usual ways, repeat
its title, or name none or the wrong one.
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
    rf"^(?:[\[(]\s*(?:{_NAME})?#?(\d{{1,3}})\s*[\])]|{_NAME}#?(\d{{1,3}})(?=\s*[(:\-–—]))\s*", re.IGNORECASE
)
_TITLE = re.compile(r"^\(\s*Title\s*:", re.IGNORECASE)
_AFTER = re.compile(rf"\s*[\[(]{_NAME}(\d{{1,3}})[\])]\.?\s*$", re.IGNORECASE)
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
        number, sentence = _line(line)
        order = sorted(range(len(documents)), key=lambda i: i + 1 != number)  # the one that is named first
        for i in order if sentence else ():
            if (verbatim := documents[i].find(sentence)) is not None:
                found[Evidence(retained[i].id, verbatim)] = None
                break
    return tuple(found)[:limit]


def parse_unit(text: str, *, cut: bool = False) -> tuple[str, str]:
    """Title line and paragraph; a paragraph that the token limit cut loses its unfinished last sentence.

    A reply of one paragraph has no title; a reply of a few words is none of both.
    """
    lines = [plain for line in text.splitlines() if (plain := _unmarked(line))]
    if len(lines) > 1 and _PREAMBLE.match(lines[0]) and not _LABEL.match(lines[0]):
        lines = lines[1:]
    title, body = (lines[0], lines[1:]) if lines else ("", [])
    title, paragraph = _quoted(_LABEL.sub("", title)), one_line(" ".join(_LABEL.sub("", line) for line in body))
    if cut:
        spans = sentences(paragraph)
        paragraph = paragraph[: spans[-2][1]] if len(spans) > 1 else ""
    if paragraph:
        return title, paragraph
    whole = not cut and len(title.split()) >= MIN_UNIT_WORDS and title[-1:] in ".!?。"
    return ("", title) if whole else ("", "")


def one_line(text: str) -> str:
    """`text` with single spaces."""
    return " ".join(text.split())


class _Document:
    """A document's text on one line, and its sentences apart, to be searched without regard to case and quotes."""

    def __init__(self, hit: Hit) -> None:
        self.text = one_line(hit.text)
        self.whole = {_folded(s): s for start, end in sentences(hit.text) if (s := one_line(hit.text[start:end]))}
        self.folded = _folded(self.text)

    def find(self, sentence: str) -> str | None:
        """The document's own words for `sentence`, where it has them."""
        wanted = _folded(sentence)
        if wanted in self.whole:
            return self.whole[wanted]
        for words in dict.fromkeys((wanted, wanted.rstrip(".… "))):
            if len(words.split()) >= MIN_PART_WORDS and (at := self.folded.find(words)) >= 0:
                return self.text[at : at + len(words)]
        return None


def _line(line: str) -> tuple[int, str]:
    """The number of the document that a line names, 0 for none, and its sentence."""
    rest = _MARK.sub("", line.replace("**", "")).strip()
    number = 0
    if source := _SOURCE.match(rest):
        number, rest = int(source[1] or source[2]), rest[source.end() :]
        rest = _after_title(rest) if _TITLE.match(rest) else rest
        rest = re.sub(r"^\s*[:\-–—]\s*", "", rest)
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
    return one_line(re.sub(r"^\s*#+\s+|\*\*|^\s*-{3,}\s*$", "", line))


def _quoted(text: str) -> str:
    """The words inside quotes, where quotes hold all of it."""
    plain = text.translate(_QUOTES)
    if len(text) > 1 and plain[0] == '"' and plain[-1] == '"' and '"' not in plain[1:-1]:
        return text[1:-1].strip()
    return text


def _folded(text: str) -> str:
    """As it is compared; of equal length, so that places are the same in both."""
    plain = text.translate(_QUOTES)
    return "".join(low if len(low := character.lower()) == 1 else character for character in plain)
