"""Sentence segmentation: rules for English, sentences as character spans of their text.

The spans are in order, do not overlap, and cover everything but white space.
"""

from __future__ import annotations

import re

from wbrag.core.words import IDEOGRAPHIC

# A terminator run with its closing quotes, brackets and citation marks (set off by a space in the Penn Treebank style
# of Natural Questions); an East Asian full stop; or a blank line.
# The look-behind and the possessive `*+`/`++` keep the scan linear on long runs of dots.
_END = re.compile(
    rf"""(?<![.!?…؟۔։])[.!?…؟۔։]++(?:["'”’»)\]]|\[\d+\])*+(?:[ ](?:''|[)\]])(?=\s|$))*+(?:[\ \u00a0\u202f]»)?+(?=\s|$)
      | [。！？｡．।॥។။።།]++[」』”’）]*+
      | (?<=[{IDEOGRAPHIC}])[!?]++(?=[{IDEOGRAPHIC}])
      | \n[^\S\n]*+\n""",
    re.VERBOSE,
)
_LAST_WORD = re.compile(r"[^\s\"'“”‘’«»()\[\]]+$")
_NEXT_WORD = re.compile(r"\s*[\"'`“‘«(\[]*\s*([^\s\"'”’,;:.!?)\]]*)")
_ACRONYM = re.compile(r"(?:[a-z]{1,2}\.)+[a-z]{1,2}")

# Never end a sentence: a name follows.
_TITLES = frozenset(
    "mr mrs ms mx messrs dr prof ste mt gen sen rep gov lt col capt cpl sgt maj cmdr adm rev hon "
    "pres supt e.g i.e cf viz vs v al ca approx".split()
)
# End a sentence unless a number follows: "No. 5", "Jan. 3", "pp. 3-9".
_BEFORE_NUMBER = frozenset(
    "no nos p pp vol vols fig figs art sec ch op eq jan feb mar apr jun jul aug sep sept oct nov dec c".split()
)
# After these a German or Danish number is an ordinal: "am 3. Mai", "im 19. Jahrhundert".
_AFTER_ORDINAL = frozenset(
    "januar jänner februar märz april mai juni juli august september oktober november dezember jahrhundert jh".split()
)
_ENGLISH_MONTHS = frozenset("april august september november".split())  # there "on page 3." may be an end
_BEFORE_DATE = frozenset("am im vom zum den dem der bis seit ab".split())
_SHORT_PAIRS = {("z", "B"), ("z", "T"), ("v", "Chr"), ("n", "Chr"), ("u", "U"), ("s", "O"), ("i", "Br")}  # German
# End a sentence only where the next word usually starts one: "in the U.S. He left", but "the U.S. Army".
_MAY_END = frozenset("jr sr st ft inc co corp ltd bros dept univ etc est".split())
_STARTERS = frozenset(
    "a after all also although an and another as at because before both but by during each every "
    "for from he her here his how however i if in it its later many more most my no not on once one "
    "our she since so some that the their then there these they this those though through thus to "
    "today under until we what when where which while who why with you your".split()
)


def sentences(text: str) -> list[tuple[int, int]]:
    """Character spans `(start, end)` of the sentences of `text`, in order, without the whitespace around them.

    The spans cover everything but whitespace. A sentence ends at `.`, `!`, `?` or `…` (with the quotes, brackets and
    `[1]` marks that close it) or the Arabic `؟۔` before whitespace, at `。！？` and the Indic, Khmer and Burmese full
    stops, and at a blank line; a single newline is only whitespace.
    Known limits of these rules, which are for English: a sentence that starts in lower case joins the one before it
    ("Yahoo! is", but also "iPhone sales fell."), "vitamin C. Some" is cut but "vitamin C. Sales" read as an initial, a
    name such as "Yahoo! Inc." is cut, and a full stop without whitespace after it ("end.Next") ends nothing.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _END.finditer(text):
        if match[0][0] in ".!?…؟۔։" and not _ends(text, match.start(), match.end(), start):
            continue
        _add(spans, text, start, match.end())
        start = match.end()
    _add(spans, text, start, len(text))
    return spans


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    if stripped := piece.strip():
        spans.append((start, start + len(stripped)))


def _ends(text: str, stop: int, after: int, start: int) -> bool:
    """Whether the terminator at text[stop:after] ends the sentence that began at `start`."""
    following = _NEXT_WORD.match(text, after)
    next_word = following[1] if following else ""
    if next_word[:1].islower():
        return False
    if text[stop] != "." or text[stop : stop + 2] == "..":
        return True
    found = _LAST_WORD.search(text, max(start, stop - 40), stop)
    if not found:
        return True
    raw = found[0]
    word = raw.lower()
    if word in _TITLES:
        return not next_word
    if word in _BEFORE_NUMBER and not (len(raw) == 1 and raw.isupper()):
        return not next_word[:1].isdigit()
    if raw.isdigit() and len(raw) <= 2 and next_word.lower() in _AFTER_ORDINAL:
        before = text[start : found.start()].split()
        return next_word.lower() in _ENGLISH_MONTHS and (not before or before[-1].lower() not in _BEFORE_DATE)
    if (raw, next_word) in _SHORT_PAIRS:
        return False
    if raw.isdigit():
        return bool(text[start : found.start()].strip())  # "1." that opens an enumeration is no sentence
    if len(raw) == 1 and raw.isupper() and raw != "I":
        return not next_word[:1].isalnum() or (len(next_word) > 1 and next_word.lower() in _STARTERS)
    if word in _MAY_END or _ACRONYM.fullmatch(word):
        return not next_word[:1].isalnum() or next_word.lower() in _STARTERS
    return True
