"""Terms: one reading of questions and passages, in any script."""

from __future__ import annotations

import numpy as np
import pytest

from wbrag.retrieval.keywords.terms import numbers, terms


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The Lighthouse at Mirrow was lit in 1871.", "the lighthouse at mirrow was lit in 1871".split()),
        ("U.S.-born (e-mail: a_b@c.org)", "u s born e mail a b c org".split()),
        ("ﬁne Straße ＡＢＣ", ["fine", "strasse", "abc"]),
        ("हिन्दी में लिखो", ["हिन्दी", "में", "लिखो"]),  # vowel signs are marks, not letters, and part no word
        ("東京都に住む", ["東京", "京都", "都に", "に住", "住む"]),
        ("水", ["水"]),
        ("iPhone用ケース", ["iphone", "用ケ", "ケー", "ース"]),
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("", []),
        ("?!… \n\t", []),
    ],
)
def test_words_of_a_text(text: str, found: list[str]) -> None:
    assert terms(text) == found


def test_a_question_is_read_as_its_passage_is() -> None:
    assert terms("東京")[0] in terms("私は東京都に住む")


def test_a_word_has_one_number_everywhere() -> None:
    """An index is read on other machines and years later, so the numbers must not move."""
    assert numbers(["lighthouse", "水", "lighthouse"]).tolist() == [
        11622037077592006948,
        8946697595557527262,
        11622037077592006948,
    ]
    assert numbers([]).dtype == np.uint64
