"""Prompt-injection check: no injected instructions, markup or hidden characters in a unit.

Text is searched as a reader would see it, hidden characters taken out and look-alike letters made plain.
"""

from __future__ import annotations

import re
import unicodedata

from wbrag.core.sections import ChecksConfig
from wbrag.units.checks.interface import CheckInput, CheckResult, Nli, Span
from wbrag.units.checks.patterns import HIDING, INVISIBLE, LINK, LOOKALIKE, RULES, filled_links

WIDE = re.compile(r"\s\s")
LINE_ENDS = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"


def instructions(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """The score counts what was found in the unit's title and text; there must be nothing."""
    unit = subject.unit
    found, in_title = find(unit.text), find(unit.title)
    if not found and not in_title:
        return CheckResult("instructions", True, 0.0, 0.0, "reads like text for a reader")
    marks = tuple(Span(start, end, False) for _, start, end in found)
    where, text, (name, start, end) = ("", unit.text, found[0]) if found else ("its title ", unit.title, in_title[0])
    quoted = " ".join(text[start:end].split())[:80]
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in quoted)
    return CheckResult(
        "instructions", False, float(len(found) + len(in_title)), 0.0, f"{where}{name}: “{shown}”", marks
    )


def find(text: str) -> list[tuple[str, int, int]]:
    """What in `text` is no prose for a reader: (what it does, start, end), in order, not overlapping.

    Hidden characters are taken out, and look-alike letters and full-width forms made plain, before the search.
    """
    found = [("holds hidden characters", m.start(), m.end()) for m in HIDING.finditer(text)]
    shown, where = _as_seen(text)
    seen = [(name, m.start(), m.end()) for name, pattern in RULES for m in pattern.finditer(shown)]
    seen += [(LINK, start, end) for start, end in filled_links(shown)]
    found += [(name, where[start], where[end - 1] + 1) for name, start, end in seen]
    found.sort(key=lambda hit: (hit[1], -hit[2]))
    kept: list[tuple[str, int, int]] = []
    for hit in found:
        if not kept or hit[1] >= kept[-1][2]:
            kept.append(hit)
    return kept


def _as_seen(text: str) -> tuple[str, list[int]]:
    """`text` as a reader sees it, white space as one character, and where in `text` each of its characters stands."""
    if text.isascii() and not INVISIBLE.search(text) and not WIDE.search(text):
        return text, list(range(len(text)))
    shown: list[str] = []
    where: list[int] = []
    for i, character in enumerate(text):
        if INVISIBLE.match(character):
            continue
        if not character.isascii():
            character = unicodedata.normalize("NFKC", character).translate(LOOKALIKE)
        if not character.isspace():
            shown.append(character)
            where += [i] * len(character)
        elif not shown or not shown[-1].isspace():
            shown.append("\n" if character in LINE_ENDS else " ")
            where.append(i)
        elif character in LINE_ENDS:
            shown[-1] = "\n"
    return "".join(shown), where
