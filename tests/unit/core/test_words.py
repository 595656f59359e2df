"""Words in scripts with spaces and without."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.sentences import sentences
from wbrag.core.words import count, spans

GERMAN = "Die Brücke wurde 1911 gebaut."
JAPANESE = "橋は1911年に完成した。"
THAI = "สะพานสร้างเสร็จในปีนั้น"
ARABIC = "اكتمل الجسر عام 1911. متى اكتمل الجسر؟ لا أحد يعرف."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("a bc  d", 3),
        (GERMAN, 5),
        ("橋は古い", 2),
        (JAPANESE, 5),
        (THAI, 5),
        (ARABIC, 10),
        ("한국어 문장", 2),
        ("x" * 401, 11),
    ],
)
def test_count(text: str, words: int) -> None:
    assert count(text) == words


@given(st.text(st.sampled_from("ab 橋は。、1 สะพ้นุ\u3000 \n.") | st.characters(codec="utf-8"), max_size=40))
def test_words_cover_all_but_white_space_in_order(text: str) -> None:
    found = list(spans(text))
    assert "".join(text[start:end] for start, end in found) == "".join(text.split())
    assert all(a[1] <= b[0] for a, b in pairwise(found))
    assert len(found) == count(text)


def test_a_word_ends_before_no_mark_and_no_full_stop() -> None:
    assert [JAPANESE[start:end] for start, end in spans(JAPANESE)][-1].endswith("。")
    marks = "\u0e31\u0e34\u0e49\u0e48"
    assert not any(THAI[start] in marks for start, _ in spans(THAI))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (ARABIC, 3),
        (JAPANESE * 2, 2),
        ("पुल 1911 में बना। कब बना?", 2),
        ("کیا پل بن گیا؟ ہاں۔", 2),
        ("Er kam. Sie ging.", 2),
        ("Sie kam am 3. August. Er ging.", 2),
        ("Es war im 19. Jahrhundert.", 1),
        ("Vögel, z. B. Amseln, singen.", 1),
        ("He finished on page 3. August was hot.", 2),
        ("« Oui ! » Il partit.", 2),
    ],
)
def test_sentences_of_other_scripts(text: str, number: int) -> None:
    assert len(sentences(text)) == number


def test_a_few_names_in_another_script_are_words_like_others() -> None:
    """As in an English article on a Japanese series: counted otherwise, it would be cut, and its corpus be another."""
    text = 'Tottoko Hamutaro ("とっとこハム太郎", lit. "trotting Hamutaro"), is a series about fifteen small animals.'
    assert count(text) == len(text.split())
