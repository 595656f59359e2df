"""What models write when they are asked for a short answer, and the answer in it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.reading import AnswerReader, is_unfinished, read_answer
from wbrag.core.tasks import task

# After how these families reply; the names are invented.
REPLIES = {
    "Die Antwort lautet: Odran Pell.": "Odran Pell.",
    "Antwort: Odran Pell": "Odran Pell",
    "Antwortete Pell": "Antwortete Pell",
    "La réponse est : Paris": "Paris",
    "La respuesta es Madrid. Es la capital.": "Madrid.",
    "A resposta é: Lisboa": "Lisboa",
    "Het antwoord is: Delft": "Delft",
    "Ответ: Тарн": "Тарн",
    "答案是：东京。它是首都。": "东京。",
    "正确答案：东京": "东京",
    "答え：東京": "東京",
    "정답은: 서울": "서울",
    "الجواب هو: القاهرة": "القاهرة",
    "उत्तर: दिल्ली। यह राजधानी है।": "दिल्ली।",
    "Odran Pell": "Odran Pell",
    " Odran Pell\n": "Odran Pell",
    "The answer is:\nOdran Pell": "Odran Pell",  # SmolLM2
    "The answer is: Odran Pell.": "Odran Pell.",
    "The short answer is Odran Pell.": "Odran Pell.",
    "Answer: Odran Pell": "Odran Pell",
    "**Answer:** Odran Pell": "Odran Pell",  # Gemma, Mistral
    "**Odran Pell**": "Odran Pell",
    "**Odran Pell** lit it.": "Odran Pell lit it.",
    "Final answer:\n\n**Odran Pell**": "Odran Pell",
    "<answer>Odran Pell</answer>": "Odran Pell",
    '"Odran Pell"': "Odran Pell",
    '"Odran Pell."': "Odran Pell.",
    "“Odran Pell”": "Odran Pell",
    "`1871`": "1871",
    "- Odran Pell": "Odran Pell",
    "Based on the given documents, Odran Pell lit the light.": "Odran Pell lit the light.",  # Llama 3
    "According to the documents, the answer is Odran Pell.": "Odran Pell.",
    "Based on the provided context, the answer is: Odran Pell": "Odran Pell",
    "Sure! Here is the short answer: Odran Pell": "Odran Pell",  # Llama 2
    "Here's the answer: Odran Pell": "Odran Pell",
    "Of course. The answer to your question is Odran Pell.": "Odran Pell.",
    "Odran Pell. He was the keeper of Mirrow Light.": "Odran Pell.",
    "The lighthouse was lit by Odran Pell in 1871. It still stands.": "The lighthouse was lit by Odran Pell in 1871.",
    "Yes. The documents say that it was.": "Yes.",
    "A: Odran Pell": "Odran Pell",
    "### Answer\nOdran Pell": "Odran Pell",
    "Final Answer\nOdran Pell": "Odran Pell",
    "# Odran Pell": "Odran Pell",
    # what a full stop does not end, and marks that stand in names
    "Am 3. Oktober 1990": "Am 3. Oktober 1990",
    "Im 19. Jahrhundert": "Im 19. Jahrhundert",
    "Der 1. FC Köln": "Der 1. FC Köln",
    "Mme. Curie": "Mme. Curie",
    "la Sra. Pérez": "la Sra. Pérez",
    "Pvt. Ryan": "Pvt. Ryan",
    "Nr. 5": "Nr. 5",
    "Louis XIV. He was king": "Louis XIV. He was king",
    "Panic! At The Disco": "Panic! At The Disco",
    "Oh! Calcutta!": "Oh! Calcutta!",
    "Mamma Mia! Here We Go Again": "Mamma Mia! Here We Go Again",
    "Hmm... Paris": "Hmm... Paris",
    "Here's Johnny: a film": "Here's Johnny: a film",
    "In 1871. It still stands.": "In 1871.",
    # answers that only look like a preamble
    "The Answer": "The Answer",
    "The short film": "The short film",
    "Here Comes the Sun": "Here Comes the Sun",
    "Based on a novel": "Based on a novel",
    "According to Jim": "According to Jim",
    "OK Computer": "OK Computer",
    "A": "A",
    "Answer Me": "Answer Me",
    "St. Louis, Missouri": "St. Louis, Missouri",
    "J. R. R. Tolkien": "J. R. R. Tolkien",
    "Washington, D.C.": "Washington, D.C.",
    "3.5 million": "3.5 million",
    "Dr. Who": "Dr. Who",
    "5 * 3 ** 2": "5 * 3  2",
    "1. Paris": "1. Paris",
    "東京。首都です。": "東京。",
    "": "",
    "\n \n": "",
    "The answer is": "The answer is",
}


@pytest.mark.parametrize("text", REPLIES)
def test_the_answer_is_found(text: str) -> None:
    assert read_answer(text) == REPLIES[text]


@pytest.mark.parametrize("text", REPLIES)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_in_pieces_as_in_one(text: str, size: int) -> None:
    reader = AnswerReader()
    shown = "".join(reader.feed(text[i : i + size]) for i in range(0, len(text), size))
    assert shown + reader.end() == REPLIES[text]


words = st.sampled_from(
    [
        "The answer is",
        "Answer",
        ":",
        " ",
        "\n",
        "Pell",
        ". ",
        "He",
        "**",
        "*",
        '"',
        ",",
        "Sure!",
        "<answer>",
        "St.",
        "A",
    ]
)


@given(st.lists(words, max_size=9).map("".join), st.lists(st.integers(0, 60), max_size=4))
def test_any_cuts_give_the_same(text: str, cuts: list[int]) -> None:
    reader, at = AnswerReader(), [0, *sorted(cuts), len(text) + 60]
    shown = "".join(reader.feed(text[a:b]) for a, b in pairwise(at))
    assert shown + reader.end() == read_answer(text)


@given(st.text("ab \n\t\r\u00a0", max_size=12))
def test_plain_text_gives_its_first_line(text: str) -> None:
    assert read_answer(text) == text.strip().split("\n", 1)[0].strip()


def test_a_plain_answer_comes_word_by_word() -> None:
    reader = AnswerReader()
    assert [reader.feed(piece) for piece in ("Odran", " Pell", " lit", " it")] == ["Odran", " Pell", " lit", " it"]


def test_more_sentences_where_they_are_the_answer() -> None:
    assert read_answer("One. Two.", one_sentence=False) == "One. Two."


@pytest.mark.parametrize(
    ("text", "unfinished"),
    [
        ("The keeper was", True),
        ("Odran Pell", True),
        ("Odran Pell. He", False),
        ("Odran Pell\nHe", False),
        ("Pell.", False),
    ],
)
def test_whether_a_cut_reply_lost_something(text: str, unfinished: bool) -> None:
    assert is_unfinished(text) == unfinished


@pytest.mark.parametrize(
    ("name", "said", "gold", "score"),
    [
        ("boolq", "True", "True", 1),
        ("boolq", "The answer is true.", "True", 1),
        ("boolq", "Yes, it is.", "True", 1),
        ("boolq", "No", "False", 1),
        ("boolq", "True or False: False", "False", 1),
        ("boolq", "It is not true.", "True", 0),
        ("boolq", "It is not true.", "False", 1),
        ("boolq", "It isn't true", "True", 0),
        ("boolq", "It cannot be true", "True", 0),
        ("boolq", "There is no doubt that it is true", "True", 1),
        ("boolq", "yes", "yes", 1),
        ("boolq", "I do not say", "True", 0),
        ("fever", "SUPPORTS", "SUPPORTS", 1),
        ("fever", "The claim is supported by the documents.", "SUPPORTS", 1),
        ("fever", "Refuted", "REFUTES", 1),
        ("fever", "Not enough information", "NOT ENOUGH INFO", 1),
        ("fever", "The claim is not supported.", "SUPPORTS", 0),
        ("fever", "The documents contradict it: REFUTES", "REFUTES", 1),
        ("fever", "NOT ENOUGH INFO", "SUPPORTS", 0),
        ("fever", "The evidence does not support the claim", "SUPPORTS", 0),
        ("fever", "It does not contradict the claim", "REFUTES", 0),
        ("fever", "The documents neither support nor refute it", "SUPPORTS", 0),
        ("fever", "There is not enough evidence to support it", "NOT ENOUGH INFO", 1),
    ],
)
def test_labels_of_closed_sets(name: str, said: str, gold: str, score: float) -> None:
    assert task(name).score(said, [gold]) == score
