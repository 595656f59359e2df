"""Prompt-injection check: no injected instructions, markup or hidden characters in a unit.

Text is searched as a reader would see it, hidden characters taken out and look-alike letters made plain.
"""

from __future__ import annotations

import unicodedata

from wbrag.core.sections import ChecksConfig
from wbrag.units.checks.interface import CheckInput, CheckResult, Nli, Span
from wbrag.units.checks.patterns import HIDING, INVISIBLE, LOOKALIKE, RULES


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
    for name, pattern in RULES:
        found += [(name, where[m.start()], where[m.end() - 1] + 1) for m in pattern.finditer(shown)]
    found.sort(key=lambda hit: (hit[1], -hit[2]))
    kept: list[tuple[str, int, int]] = []
    for hit in found:
        if not kept or hit[1] >= kept[-1][2]:
            kept.append(hit)
    return kept


def _as_seen(text: str) -> tuple[str, list[int]]:
    """`text` as a reader sees it, and where in `text` each of its characters stands."""
    if text.isascii() and not INVISIBLE.search(text):
        return text, list(range(len(text)))
    shown: list[str] = []
    where: list[int] = []
    for i, character in enumerate(text):
        if not INVISIBLE.match(character):
            plain = unicodedata.normalize("NFKC", character).translate(LOOKALIKE)
            shown.append(plain)
            where += [i] * len(plain)
    return "".join(shown), where
