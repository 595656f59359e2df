"""Text highlighting: texts cut where a reviewer should look, at what is supported, what is not, and what was evidence.

The pieces join to the text unchanged; where marks overlap, "not supported" wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wbrag.core.types import Passage
from wbrag.units.examinations import Examination
from wbrag.units.governance import UnitPage

Piece = tuple[str, str]  # a piece of a text and its kind: "", "yes" or "no"


@dataclass(frozen=True)
class HighlightedSource:
    """A source beside its unit. `lost` are evidence sentences that it no longer holds."""

    id: str
    passage: Passage | None  # None: gone from the corpus
    changed: bool
    pieces: tuple[Piece, ...]
    lost: tuple[str, ...]


def marked(text: str, spans: Iterable[tuple[int, int, str]]) -> tuple[Piece, ...]:
    """`text` in pieces that join to it; where spans (start, end, kind) overlap, "no" outweighs "yes"."""
    kinds = [""] * len(text)
    for start, end, kind in sorted(spans, key=lambda span: span[2] == "no"):
        for i in range(max(0, start), min(end, len(text))):
            kinds[i] = kind
    pieces: list[Piece] = []
    begin = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or kinds[i] != kinds[begin]:
            pieces.append((text[begin:i], kinds[begin]))
            begin = i
    return tuple(pieces)


def unit_pieces(text: str, examined: Examination | None) -> tuple[Piece, ...]:
    """A unit's text by what the checks found supported."""
    found = (span for check in (examined.results if examined else ()) for span in check.spans)
    return marked(text, [(span.start, span.end, "yes" if span.supported else "no") for span in found])


def sources(page: UnitPage) -> tuple[HighlightedSource, ...]:
    """The unit's sources with its evidence marked in them, those with evidence in the order that the unit names."""
    unit = page.card.unit
    found = []
    for (id, _), (passage, unchanged) in zip(unit.sources, page.sources):
        evidence = [e.sentence for e in unit.evidence if e.passage_id == id]
        places = [(s, passage.text.find(s) if passage else -1) for s in evidence]
        spans = [(at, at + len(sentence), "yes") for sentence, at in places if at >= 0]
        lost = tuple(sentence for sentence, at in places if at < 0)
        found.append(
            HighlightedSource(id, passage, not unchanged, marked(passage.text, spans) if passage else (), lost)
        )
    return tuple(found)


def reasons(examined: Examination | None, general: Sequence[str]) -> tuple[str, ...]:
    """What a rejection may say: what the failed checks found, then what is often the case."""
    failed = examined.failed if examined else ()
    return (*(f"{check.name.replace('_', ' ')}: {check.explanation}" for check in failed), *general)
