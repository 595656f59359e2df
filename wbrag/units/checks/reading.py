"""Surface parser: the names, dates, numbers and other content words of a sentence.

It is made for English. Of other languages it knows the figures, words and commonest negations, but names only where
they have capitals; a script without spaces is read in pairs of characters. `checks.nli_model` decides without it.
Words are compared without case, accents, possessive and dots; content words also without their ending.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from wbrag.core.words import unspaced
from wbrag.units.checks.figures import MONTHS, Date, Figure, figures

STOP = frozenset(
    "a an the this that these those such same other another any each every either neither both all some many most "
    "much more few several own very just only also even still yet too so as than then thus hence therefore however "
    "moreover furthermore meanwhile instead otherwise although though while whereas because since until unless if "
    "whether when where why how who whom whose which what there here and or but nor for of to in on at by with from "
    "into onto over under after before during between among within without about against through across along around "
    "near off out up down above below per via despite upon toward towards like unlike is am are was were be been being "
    "do does did done doing has have had having will would shall should can could may might must i me my mine we us "
    "our ours you your yours he him his she her hers it its they them their theirs himself herself itself themselves "
    "no not never cannot again once later earlier ago often always usually today now according mr mrs ms dr first one "
    "second".split()
)
PRONOUNS = frozenset("he him his she her hers it its they them their theirs himself herself itself themselves".split())
DEMONSTRATIVES = frozenset("this that these those such".split())  # refer back at the head of a sentence
NEGATIONS = frozenset("no not never cannot without neither nor".split())
# In small letters: "PAs" and "Nie" are names in English. As `fold` leaves them.
_FOREIGN_NEGATIONS = frozenset(
    "nicht kein keine keinen keinem keiner keines nie niemals ohne ne jamais aucun aucune nunca jamas ningun ninguna "
    "nao nessun nessuna niet geen nooit zonder не нет без никогда ни inte aldrig ikke لا لم لن ليس ليست بدون नहीं मत "
    "बिना".split()
)
_NOT_SO = frozenset({"not so"})  # of a sentence without spaces: which word is denied cannot be seen
_UNSPACED_NEGATION = re.compile("[不没沒無无未非]|ない|なかった|ません|ずに|ไม่")
# A lone capital at the head of a sentence may be any noun that needs no article; these endings say that it is one. An
# invented name with such an ending ("Clement left") counts there as one more word that the evidence does not hold.
_ORDINARY = re.compile(r"(?:[a-z]{2}(?:tion|sion|ment|ity|ness|ism|ance|ence|ship|ics|ing|ly)|[^s']s)$")
_SINGULAR = frozenset("is was has does".split())  # "Paris was", "Beijing is"; but "Payments were", "Building began"
# Vowel signs stand on the letters of a word, and are no letters to `re`.
_SIGNS = "".join(chr(c) for c in range(0x0300, 0x0E00) if unicodedata.category(chr(c)).startswith("M"))
_LETTERS = rf"[^\W_](?:[^\W_]|[{_SIGNS}])*"
_WORD = re.compile(rf"(?:[^\W\d_]\.){{2,}}|{_LETTERS}(?:[.'’]{_LETTERS})*", re.UNICODE)
_ENDINGS = "ations ation ings ing ions ion edly ed ers er ors or ies es s ly e y".split()


@dataclass(frozen=True)
class Reading:
    """One sentence. `words` holds everything it offers, `content` the stems of what it claims, names included."""

    names: tuple[tuple[str, ...], ...]  # words of one name together, in order
    dates: tuple[tuple[Date, ...], ...]  # each in its possible readings
    numbers: frozenset[str]
    offered: frozenset[str]  # numbers, with those that are only perhaps numbers ("one") and the years of dates
    words: frozenset[str]
    content: frozenset[str]  # a negated word stands as "not " + stem
    refers_back: bool  # "it", "she", "this": its subject stands elsewhere

    @property
    def named(self) -> frozenset[str]:
        return frozenset(word for name in self.names for word in name)


@dataclass(frozen=True)
class _Word:
    raw: str
    folded: str
    start: int
    end: int


@lru_cache(maxsize=20_000)
def read(sentence: str) -> Reading:
    """Read one sentence."""
    found, rest = figures(unicodedata.normalize("NFC", sentence))
    words = [word for m in _WORD.finditer(rest) for word in _words(m)]
    names = _names(words, rest)
    numbers = frozenset(f.number for f in found if f.number and f.claimed)
    dates = tuple(f.dates for f in found if f.dates)
    years = {str(d.year) for group in dates for d in group if d.year}
    months = {MONTHS[d.month - 1].lower() for group in dates for d in group if d.month}
    first = words[0].folded if words else ""
    return Reading(
        names,
        dates,
        numbers,
        numbers | {f.number for f in found if f.number} | years,
        frozenset(w.folded for w in words) | months,
        _content(words, found) | (_NOT_SO if _UNSPACED_NEGATION.search(rest) else frozenset()),
        bool(PRONOUNS & {w.folded for w in words}) or first in DEMONSTRATIVES,
    )


def _words(found: re.Match[str]) -> list[_Word]:
    """A word; of scripts without spaces, which would make one of a whole clause, every two characters together."""
    text, at = found[0], found.start()
    if not unspaced(text) or len(text) < 2:
        return [_Word(text, fold(text), at, found.end())]
    return [_Word(text[i : i + 2], text[i : i + 2], at + i, at + i + 2) for i in range(len(text) - 1)]


def fold(word: str) -> str:
    """Lower case, without accents, possessive, apostrophes and dots."""
    plain = unicodedata.normalize("NFKD", word).replace("’", "'")
    plain = "".join(c for c in plain if not unicodedata.combining(c)).casefold()
    return re.sub(r"'s?$", "", plain).replace("'", "").replace(".", "")


def stem(word: str) -> str:
    """`word` without its ending, so that most inflections of a word agree."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _names(words: list[_Word], text: str) -> tuple[tuple[str, ...], ...]:
    """Runs of capitalised words; a stop word with a capital ("The") belongs to none."""
    names: list[list[str]] = []
    last_end = -1
    for i, word in enumerate(words):
        if not _is_name(i, words):
            continue
        if names and last_end >= 0 and not text[last_end : word.start].strip(" -.'’"):
            names[-1].append(word.folded)
        else:
            names.append([word.folded])
        last_end = word.end
    return tuple(tuple(name) for name in names)


def _is_name(i: int, words: list[_Word]) -> bool:
    word = words[i]
    upper = any(c.isupper() for c in word.raw)
    if any(c.isdigit() for c in word.raw):
        return True  # "3D", "B2B": no number, and no ordinary word
    if not upper or (word.folded in STOP and not word.raw.isupper()) or (len(word.folded) < 2 and i == 0):
        return False
    if word.folded in STOP and len(word.raw) < 2:
        return False  # "I", "A"
    if i or any(c.isupper() for c in word.raw[1:]):
        return True
    follows = words[1] if len(words) > 1 else None
    if follows and follows.raw[:1].isupper():
        return True
    if follows and follows.folded in _SINGULAR and word.folded.endswith(("s", "ing", "ly")):
        return True
    return not _ORDINARY.search(word.folded)


def _content(words: list[_Word], found: list[Figure]) -> frozenset[str]:
    content: set[str] = set()
    negated = False
    for word in words:
        if (
            word.folded in NEGATIONS
            or (word.folded in _FOREIGN_NEGATIONS and word.raw == word.raw.lower())
            or word.raw.lower().replace("’", "'").endswith("n't")
        ):
            negated = True
        elif word.folded not in STOP and len(word.folded) > 1:
            content.add(("not " if negated else "") + stem(word.folded))
            negated = False
    for figure in found:
        if figure.dates:
            content.add(str(figure.dates[0]))
        elif figure.claimed:
            content.add(figure.number)
    return frozenset(content)
