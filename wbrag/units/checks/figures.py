"""Dates and numbers in English text, normalised to one form whatever the spelling.

Positions are those of the text itself; an ambiguous date ("3/4/1926") keeps all of its readings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

MONTHS = (
    "January February March April May June July August September October November December".split()
)  # the name of month i + 1
_MONTH = "|".join(rf"{name}|{name[:3]}\b\.?" for name in MONTHS) + r"|Sept\b\.?"
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_RANGE = rf"(?:{_DAY}\s*(?:-|–|—|to|and|or)\s*)?{_DAY}"
_DATES = [
    ("ymd", re.compile(r"(?<![\d-])(\d{4})-(\d{2})-(\d{2})(?![\d-])")),
    ("xxy", re.compile(r"(?<![\d./-])(\d{1,2})[./](\d{1,2})[./](\d{4})(?![\d./])")),
    ("ddmy", re.compile(rf"(?<![\d,.]){_RANGE}(?:\s+of)?\s+({_MONTH}),?(?:\s+(?:of\s+)?(\d{{4}})(?!\d))?")),
    ("mddy", re.compile(rf"\b({_MONTH})\s+{_RANGE}(?!\d)(?:,?\s+(\d{{4}})(?!\d))?")),
    ("my", re.compile(rf"\b({_MONTH}),?\s+(?:of\s+)?(\d{{4}})(?!\d)")),
]
_YEARS = re.compile(r"(?<!\d)(\d{2})(\d{2})\s?(?:--?|–|/)\s?(\d{2})(?!\d)")  # 1914-18
_DIGITS = re.compile(r"(?<![\w.,])(?:(?<!\S)[-−])?(\d{1,3}(?:[,\u00a0\u202f]\d{3})+(?!\d)|\d+)(\.\d+)?(?=(\w*))")
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {word: i for i, word in enumerate(_UNITS)} | {word: 10 * i for i, word in enumerate(_TENS, 2)}
_ORDINALS = {
    word: i
    for i, word in enumerate(
        "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
        "sixteenth seventeenth eighteenth nineteenth twentieth".split(),
        3,
    )
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALE = re.compile(rf"(?<![\s-])[\s-]++({'|'.join(_SCALES)})s?\b", re.IGNORECASE)
_SPELT = "|".join((*_ORDINALS, *_WORDS, *_SCALES))
_SPELT_RUN = re.compile(rf"\b(?:{_SPELT})(?:(?:[\s-]+|\s+and\s+)(?:{_SPELT}))*\b", re.IGNORECASE)


class Date(NamedTuple):
    """What is said of a day; None for a part that is not said."""

    year: int | None
    month: int | None
    day: int | None

    def within(self, other: Date) -> bool:
        """Whether `other` says all of this."""
        return all(mine is None or mine == its for mine, its in zip(self, other))

    def against(self, other: Date) -> bool:
        """Whether both say a part, and say it differently."""
        return any(mine is not None and its is not None and mine != its for mine, its in zip(self, other))


class Figure(NamedTuple):
    """A date in its possible readings ("3/4/1926" has two), or a number in its one form, at characters [start, end)."""

    start: int
    end: int
    dates: tuple[Date, ...] = ()
    number: str = ""
    claimed: bool = True  # False for "one", which is often no number


def figures(text: str) -> tuple[list[Figure], str]:
    """The figures of `text`, and the text with a space for each of their characters."""
    found: list[Figure] = []
    for shape, pattern in _DATES:
        for match in pattern.finditer(text):
            if dates := _dates(shape, [group or "" for group in match.groups()]):
                found.append(Figure(match.start(), match.end(), dates))
        text = _blank(text, found)
    found += _numbers(text)
    return sorted(found), _blank(text, found)


def _blank(text: str, found: list[Figure]) -> str:
    for figure in found:
        text = text[: figure.start] + " " * (figure.end - figure.start) + text[figure.end :]
    return text


def _dates(shape: str, parts: list[str]) -> tuple[Date, ...]:
    """Every day that a match names, or may name."""
    numbers = [_month(part) if part[:1].isalpha() else int(part) if part else None for part in parts]
    if shape == "ymd":
        found = [Date(*numbers)]
    elif shape == "xxy":
        a, b, year = numbers
        found = [Date(year, b, a), Date(year, a, b)]
    elif shape == "my":
        found = [Date(numbers[1], numbers[0], None)]
    else:
        month, a, b, year = numbers if shape == "mddy" else (numbers[2], numbers[0], numbers[1], numbers[3])
        found = [Date(year, month, day) for day in (a, b) if day is not None]
    return tuple(d for d in dict.fromkeys(found) if (d.month or 1) <= 12 and (d.day or 1) <= 31)


def _month(name: str) -> int:
    return 1 + next(i for i, month in enumerate(MONTHS) if month[:3] == name[:3])


def _numbers(text: str) -> Iterator[Figure]:
    for match in _YEARS.finditer(text):
        yield Figure(match.start(), match.start() + 4, number=match[1] + match[2])
        yield Figure(match.end() - 2, match.end(), number=match[1] + match[3])
    text = _YEARS.sub(lambda m: " " * len(m[0]), text)
    for match in _DIGITS.finditer(text):
        if match[3] and match[3].lower() not in ("st", "nd", "rd", "th", "s"):
            continue  # "3D", "5km": a word
        value = Decimal(re.sub(r"\D", "", match[1]) + (match[2] or ""))
        end = match.end() + len(match[3])
        if scale := _SCALE.match(text, end):
            value, end = value * _SCALES[scale[1].lower()], scale.end()
        sign = "-" if match[0][0] in "-−" else ""
        decade = "s" if match[3].lower() == "s" else ""
        yield Figure(match.start(), end, number=sign + plain(value) + decade)
    text = _blank(text, [Figure(m.start(), m.end()) for m in _DIGITS.finditer(text)])
    for match in _SPELT_RUN.finditer(text):
        if match[0].lower() not in _SCALES:  # "million" alone belongs to digits, and those are read
            spelt = _spelt(re.findall(r"[a-z]+", match[0].lower()))
            yield Figure(match.start(), match.end(), number=plain(Decimal(spelt)), claimed=match[0].lower() != "one")


def plain(value: Decimal) -> str:
    """Without exponent and without zeros at the end: 1234, 0.5."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _spelt(words: list[str]) -> int:
    """ "two hundred and five thousand" as 205000."""
    total = part = 0
    for word in words:
        if word in _SCALES:
            part = max(part, 1) * _SCALES[word]
            if _SCALES[word] > 100:
                total, part = total + part, 0
        else:
            part += _WORDS.get(word, _ORDINALS.get(word, 0))
    return total + part
