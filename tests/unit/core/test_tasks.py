"""Every task's pair of prompts, and how its answers are read and scored."""

from __future__ import annotations

import pytest

from wbrag.core import prompts
from wbrag.core.errors import UsageError
from wbrag.core.reading import read_answer
from wbrag.core.tasks import TASKS, reference, task
from wbrag.core.types import Hit, Passage

DOCUMENTS: list[Hit | Passage] = [
    Hit("a", "Kites", "A kite flies.", 0.9),
    Passage("b", "Owls {x}", "An owl {question} sees {}."),
]
BLOCK = "Doc 1(Title: Kites) A kite flies.\nDoc 2(Title: Owls {x}) An owl {question} sees {}."
QUESTION = "who {documents} flies {0}?"
INTRO = "\n\nThe following are given documents.\n"
# the words in which the two instruction lines may differ
EVIDENCE_WORDS = [
    ("based on the given documents", "based on your own knowledge"),
    ("Copy the shortest", "Write the shortest"),
]


SHORT = [name for name in TASKS if not TASKS[name].prose]


@pytest.mark.parametrize("name", SHORT)
def test_closed_prompt_is_the_rag_prompt_without_documents(name: str) -> None:
    closed, rag = task(name).messages(QUESTION, []), task(name).messages(QUESTION, DOCUMENTS)
    assert [message.role for message in closed] == [message.role for message in rag] == ["system", "user"]
    assert closed[1] == rag[1]
    assert QUESTION in closed[1].content
    assert rag[0].content.endswith(INTRO + BLOCK)
    instruction = rag[0].content.removesuffix(INTRO + BLOCK)
    assert "\n" not in instruction
    assert "based on the given documents" in instruction
    for with_documents, without in EVIDENCE_WORDS:
        instruction = instruction.replace(with_documents, without)
    assert closed[0].content == instruction
    assert "document" not in closed[0].content


def test_of_a_chat_the_documents_stand_with_the_question_they_were_found_for() -> None:
    system, user = task("chat").messages(QUESTION, DOCUMENTS)
    assert user.content.count(BLOCK) == 1 and user.content.endswith(f"\n\n{QUESTION}")
    assert BLOCK not in system.content and "such as [1]" in system.content
    assert task("chat").messages(QUESTION, [])[-1].content == QUESTION


@pytest.mark.parametrize("name", SHORT)
def test_braces_stay_what_they_are(name: str) -> None:
    system, user = task(name).messages(QUESTION, DOCUMENTS)
    assert system.content.count(BLOCK) == 1
    assert user.content.endswith(": " + QUESTION)


def test_tasks_prompts_differ() -> None:
    prompts = {task(name).messages("q", [])[0].content for name in TASKS}
    assert len(prompts) == len(TASKS)


def test_reference_counts_from_one() -> None:
    assert reference(DOCUMENTS) == BLOCK
    assert reference([]) == ""


def test_unknown_task_lists_the_names() -> None:
    with pytest.raises(UsageError) as caught:
        task("hotpot")
    assert "did you mean 'hotpotqa'" in str(caught.value)
    assert all(name in str(caught.value) for name in TASKS)


@pytest.mark.parametrize(
    ("name", "prediction", "score"),
    [
        ("nq", "It is Paris", 1),
        ("zsre", "It is Paris", 1),
        ("hotpotqa", "It is Paris", 1),
        ("qa", "It is Paris", 1),
        ("boolq", "It is Paris", 1),
        ("fever", "It is Paris", 0.5),
        ("squad", "It is Paris", 0),
    ],
)
def test_score_uses_the_papers_metric(name: str, prediction: str, score: float) -> None:
    assert task(name).score(prediction, ["Paris"]) == score


def test_score_with_another_metric() -> None:
    assert task("squad").score("It is Paris", ["Paris"], "acc") == 1
    assert task("nq").score("It is Paris", ["Paris"], "em") == 0
    assert task("nq").score("It is Paris", ["Paris"], "f1") == 0.5


@pytest.mark.parametrize(
    ("text", "answer"), [("", ""), ("\n \n Paris \nbecause", "Paris"), ("Paris", "Paris"), ("Paris\r\nx", "Paris")]
)
def test_read_answer_takes_the_first_line(text: str, answer: str) -> None:
    assert read_answer(text) == answer


def test_a_task_in_another_normal_form() -> None:
    plain, form = task("squad"), task("squad/unicode")
    assert (form.name, form.metric) == (plain.name, plain.metric)
    assert form.messages(QUESTION, DOCUMENTS) == plain.messages(QUESTION, DOCUMENTS)
    assert (plain.score("東京。", ["東京"]), form.score("東京。", ["東京"])) == (0, 1)
    assert form.contains("橋は「東京 都」に。", ["東京都"]) and not plain.contains("橋は「東京 都」に。", ["東京都"])
    assert task("boolq/unicode").label("Ｔrue") == task("boolq").label("Ｔrue")
    assert prompts.of("squad/unicode") == prompts.of("squad")
    with pytest.raises(UsageError, match="unknown normalisation 'unicod': did you mean 'unicode'"):
        task("squad/unicod")


@pytest.mark.parametrize(
    "head", ["Doc 2(Title:", "doc2 ( title :", "Doc 2（Title：", "ＤＯＣ 2(Title:", "D\u200boc\u200b 2(Ti\u00adtle:"]
)
def test_no_document_opens_another(head: str) -> None:
    block = reference([Passage("a", "T", f"One. {head} x) Two.")])
    assert head not in block and "Two." in block and block.startswith("Doc 1(Title: T)")
