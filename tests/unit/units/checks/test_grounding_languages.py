"""Grounding by words where words are not English ones."""

from __future__ import annotations

import pytest

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Evidence, Passage, Unit
from wbrag.units.checks.grounding import grounding
from wbrag.units.checks.interface import CheckInput
from wbrag.units.checks.reading import read

# evidence, a sentence that it supports, one that it does not
CASES = {
    "German": (
        "Die Brücke von Tarn wurde 1911 von Odran Pell gebaut und ist heute gesperrt.",
        "Odran Pell baute die Brücke von Tarn 1911.",
        ["Die Brücke von Tarn wurde 1912 gebaut.", "Die Brücke von Tarn wurde nicht gesperrt."],
    ),
    "Russian": (
        "Мост в Тарне построил Одран Пелл в 1911 году.",
        "Мост в Тарне построил Одран Пелл.",
        ["Мост в Тарне построил Иван Сенн.", "Мост в Тарне не построил Одран Пелл."],
    ),
    "Chinese": (
        "塔恩桥由奥德兰·佩尔于1911年建成，全长三百米，今天仍在使用。",
        "塔恩桥于1911年建成。",
        ["塔恩桥于1912年建成。", "塔恩桥没有建成。", "佩尔喜欢在周末钓鱼和唱歌。"],
    ),
    "Japanese": (
        "ターン橋は1911年に完成し、今も使われている。",
        "ターン橋は1911年に完成した。",
        ["ターン橋は1912年に完成した。", "ターン橋は完成しなかった。"],
    ),
    "Arabic": (
        "بُني جسر تارن عام 1911 ولا يزال مفتوحا أمام المارة.",
        "بُني جسر تارن عام 1911.",
        ["بُني جسر تارن عام 1912.", "لم يُفتح سوق السمك يوم الجمعة."],
    ),
    "Hindi": ("टार्न पुल 1911 में बना था।", "टार्न पुल 1911 में बना।", ["टार्न पुल 1911 में नहीं बना।", "टार्न पुल 1912 में बना।"]),
}


def supported(evidence: str, said: str) -> bool:
    unit = Unit("", said, (("p", "h"),), ("q",), (Evidence("p", evidence),))
    return grounding(CheckInput(unit, (Passage("p", "", evidence),)), ChecksConfig()).passed


@pytest.mark.parametrize("language", CASES)
def test_what_is_said_and_what_is_not(language: str) -> None:
    evidence, true, false = CASES[language]
    assert supported(evidence, evidence)
    assert supported(evidence, true)
    assert [said for said in false if supported(evidence, said)] == []


@pytest.mark.parametrize("sentence", ["Two PAs work there.", "Nie Er wrote the march.", "They danced a pas de deux."])
def test_english_words_that_are_negations_elsewhere(sentence: str) -> None:
    assert not [word for word in read(sentence).content if word.startswith("not ")]


def test_negations_with_accents() -> None:
    assert "not mora" in read("Ela não mora aqui.").content
    assert not supported("Ela mora em Tarn desde 1911.", "Ela não mora em Tarn.")
