"""Normal forms in which answers are compared: FlashRAG's, which is for English, and one for any script."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from wbrag.core.words import IDEOGRAPHIC, characters

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_TATWEEL = "\u0640"  # stretches an Arabic word
_DOT_ABOVE = "\u0307"  # what case folding leaves of İ
_VOWEL_SIGNS = re.compile("[\u064b-\u0652\u0670]")  # which Arabic is written with and without


class Normalisation(NamedTuple):
    """`form`: what is compared for equality and containment; `tokens`: what F1 counts, of such a form."""

    form: Callable[[str], str]
    tokens: Callable[[str], list[str]]


def normalise(text: str) -> str:
    """FlashRAG's form: lower case, no ASCII punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def unicode_form(text: str) -> str:
    """The form for any script: compatible characters are one (ＡＢＣ, é in two parts), case is folded (ß is ss), digits
    are ASCII ones, punctuation of any script and what cannot be seen go, as do English articles.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    plain = _VOWEL_SIGNS.sub("", folded).replace(_TATWEEL, "").replace(_DOT_ABOVE, "")
    kept = "".join(_kept(c) for c in plain)
    return _BETWEEN.sub("", " ".join(_ARTICLES.sub(" ", kept).split()))


def _kept(c: str) -> str:
    kind = unicodedata.category(c)
    if kind[0] == "P" or kind == "Cf" or c in string.punctuation:
        return ""
    return str(unicodedata.decimal(c)) if kind == "Nd" else c


_BETWEEN = re.compile(rf"(?<=[{IDEOGRAPHIC}]) (?=[{IDEOGRAPHIC}])")  # a space that such scripts do not need

FLASHRAG = Normalisation(normalise, str.split)
UNICODE = Normalisation(unicode_form, characters)
NORMALISATIONS = {"flashrag": FLASHRAG, "unicode": UNICODE}
