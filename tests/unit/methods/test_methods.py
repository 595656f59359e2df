"""FLARE, Self-RAG, ITER-RETGEN and the planner over a scripted model: what they ask, retrieve and keep."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.fakes import TableRetriever
from tests.support.scripted import ScriptedGenerator
from wbrag.core.errors import UsageError
from wbrag.core.sections import MethodsConfig, SelfRagConfig
from wbrag.core.tasks import task
from wbrag.core.types import Answer, Completion, Hit, Messages, Prompt, Sampling
from wbrag.generators.logprobs import shares
from wbrag.methods import NAMES, Rag, method
from wbrag.methods.flare import first_sentence, unsure_spans
from wbrag.methods.planner import sub_questions
from wbrag.methods.selfrag import TOKENS, score

QUESTION = "which bird soars?"
KITE, OWL = Hit("p1", "Kite", "The red kite soars.", 0.9), Hit("p2", "Owl", "The owl sits.", 0.8)


def run(
    name: str,
    generator: ScriptedGenerator,
    hits: Mapping[str, Sequence[Hit]],
    documents: Sequence[Hit] | None = None,
    task_name: str = "qa",
    **settings: Any,
) -> tuple[Answer, TableRetriever]:
    retriever = TableRetriever(hits)
    rag = Rag(generator, retriever, task(task_name), 2, settings=MethodsConfig(**settings))
    return asyncio.run(method(name)(QUESTION, rag, documents)), retriever


def reads(messages: Messages, sampling: Sampling) -> str:
    return "red kite" if "red kite" in messages[0].content else "an owl"


@pytest.mark.parametrize("name", NAMES)
def test_every_method_answers_closed_book_from_the_same_prompt(name: str) -> None:
    """So that the utility gate compares with the same closed-book score whatever the method."""
    generator = ScriptedGenerator(reads)
    found, retriever = run(name, generator, {}, documents=[])
    assert (found.text, found.hits, retriever.calls) == ("an owl", (), [])
    assert [c.prompt for c in generator.calls] == [tuple(task("qa").messages(QUESTION, []))]


@pytest.mark.parametrize("name", NAMES)
def test_given_documents_are_read_and_nothing_is_retrieved(name: str) -> None:
    generator = ScriptedGenerator(reads, word_logprob=lambda word: -2.0)
    found, retriever = run(name, generator, {QUESTION: [OWL]}, documents=[KITE])
    assert (found.text, found.hits, retriever.calls) == ("red kite", (KITE,), [])
    assert found.cost.calls == len(generator.calls) and found.cost.retrievals == 0


def test_an_unknown_method_is_answered_with_the_known() -> None:
    with pytest.raises(UsageError, match="did you mean 'replug'"):
        method("replugg")


# -- ITER-RETGEN -----------------------------------------------------------------------------------------------------


def test_iter_retgen_asks_with_the_last_answer_and_replaces_the_documents() -> None:
    generator = ScriptedGenerator(reads)
    found, retriever = run("iter_retgen", generator, {QUESTION: [OWL], f"{QUESTION} an owl": [KITE]})
    queries = [query for (query,), _ in retriever.calls]
    assert queries == [QUESTION, f"{QUESTION} an owl", f"{QUESTION} red kite"]
    assert found.hits == () and found.cost.retrievals == 3  # the third query found nothing
    found, _ = run("iter_retgen", generator, {QUESTION: [OWL], f"{QUESTION} an owl": [KITE]}, iter_retgen={"rounds": 2})
    assert (found.text, found.hits) == ("red kite", (KITE,))


# -- FLARE -----------------------------------------------------------------------------------------------------------


def test_flare_keeps_a_sentence_that_it_is_sure_of() -> None:
    found, retriever = run("flare", ScriptedGenerator(reads, word_logprob=lambda word: -0.01), {QUESTION: [KITE]})
    assert (found.text, found.hits, retriever.calls) == ("an owl", (), [])


def test_flare_retrieves_with_the_question_and_the_sure_words() -> None:
    generator = ScriptedGenerator(reads, word_logprob=lambda word: math.log(0.9 if word == "an" else 0.1))
    found, retriever = run("flare", generator, {f"{QUESTION} an": [KITE]})
    assert (found.text, found.hits, found.details) == ("red kite", (KITE,), {"retrieval_rounds": 1.0})
    _, retriever = run("flare", generator, {}, flare={"preset": "flashrag"})
    assert [queries for queries, _ in retriever.calls] == [("an",)]


def test_flare_can_ask_about_what_it_is_unsure_of() -> None:
    def reply(messages: Messages, sampling: Sampling) -> str:
        return "Which bird is it?" if "marked part" in messages[0].content else reads(messages, sampling)

    generator = ScriptedGenerator(reply, word_logprob=lambda word: math.log(0.9 if word == "an" else 0.1))
    found, _ = run("flare", generator, {"Which bird is it?": [KITE]}, flare={"query": "explicit"})
    assert (found.text, found.hits) == ("red kite", (KITE,))
    asked = next(c.prompt[-1].content for c in generator.calls if "marked part" in c.prompt[0].content)
    assert "Marked part: owl" in asked


def test_flare_writes_sentence_by_sentence() -> None:
    def reply(messages: Messages, sampling: Sampling) -> str:
        return "Then it rests." if messages[-1].role == "assistant" else "It soars. Then"

    generator = ScriptedGenerator(reply, word_logprob=lambda word: 0.0)
    found, _ = run("flare", generator, {})
    assert found.text == "It soars. Then it rests."
    assert [c.prompt[-1].content for c in generator.calls[1:]] == ["It soars."]


def test_a_sentence_keeps_its_own_tokens() -> None:
    completion = Completion("It is. No", logprobs=(-0.1, -0.2, -0.3, -0.4), pieces=("It", " is", ".", " No"))
    sentence = first_sentence(completion)
    assert (sentence.text, sentence.pieces, sentence.whole) == ("It is.", ("It", " is", "."), False)
    assert unsure_spans(sentence, math.exp(-0.15)) == ["is."]
    assert first_sentence(Completion("")).whole


# -- Self-RAG --------------------------------------------------------------------------------------------------------


def critic(prompt: Prompt) -> Mapping[str, float]:
    """Sure that it must look things up, and that only the kite passage helps."""
    assert not isinstance(prompt, str)
    text = "\n".join(message.content for message in prompt)
    helps = "red kite" in text
    if "must be looked up" in text:
        return {" Yes": math.log(0.9), "no": math.log(0.1)}
    if "is relevant" in text:
        return {"yes": math.log(0.8 if helps else 0.1), "No": math.log(0.1 if helps else 0.8)}
    if "how far" in text:
        return {"fully": math.log(0.7), "no": math.log(0.3)} if helps else {"no": 0.0}
    return {"5": 0.0} if helps else {"1": 0.0} if "Rate" in text else {}


def test_selfrag_keeps_the_answer_of_the_best_passage() -> None:
    found, _ = run("selfrag", ScriptedGenerator(reads, first_token=critic), {QUESTION: [OWL, KITE]})
    assert (found.text, found.hits, found.details["rank"]) == ("red kite", (OWL, KITE), 2.0)
    assert found.details["score"] == pytest.approx(math.exp(-0.1) + 0.8 / 0.9 + 0.7 + 1.0)
    assert found.cost.calls == 1 + 2 * 4


def test_selfrag_answers_alone_where_it_needs_no_passage() -> None:
    sure = ScriptedGenerator(reads, first_token=lambda prompt: {"no": math.log(0.9), "yes": math.log(0.1)})
    found, retriever = run("selfrag", sure, {QUESTION: [KITE]})
    assert (found.text, found.hits, retriever.calls) == ("an owl", (), [])


def test_selfrag_sums_equal_answers_of_a_closed_set() -> None:
    def reply(messages: Messages, sampling: Sampling) -> str:
        return "True" if "best" in messages[0].content else "False"

    hits = [Hit("p0", "t", "best", 0.9), Hit("p1", "t", "weak", 0.8), Hit("p2", "t", "weaker", 0.7)]
    generator = ScriptedGenerator(reply, first_token=lambda prompt: {"yes": 0.0})
    assert run("selfrag", generator, {}, documents=hits, task_name="boolq")[0].text == "False"
    assert run("selfrag", generator, {}, documents=hits)[0].text == "True"  # open: the first of equals


def test_selfrag_reads_a_models_own_tokens() -> None:
    def reply(messages: Messages, sampling: Sampling) -> str:
        text = messages[0].content
        if "<paragraph>" not in text:
            return "[Retrieval]"
        if "red kite" in text:
            return "[Relevant] red kite [Utility:5]"
        return "[Irrelevant] an owl [Utility:1]"

    generator = ScriptedGenerator(reply, special=TOKENS, word_logprob=lambda word: math.log(0.5))
    found, _ = run("selfrag", generator, {QUESTION: [OWL, KITE]})
    assert (found.text, found.hits) == ("red kite", (OWL, KITE))
    prompts = [c.prompt[0].content for c in generator.calls]
    assert prompts[0] == f"### Instruction:\n{QUESTION}\n\n### Response:\n"
    assert prompts[2] == f"{prompts[0]}[Retrieval]<paragraph>Kite\nThe red kite soars.</paragraph>"
    assert found.details["score"] == pytest.approx(0.5 + 1 + 0 + 1)


def test_selfrag_explains_a_closed_set_to_a_model_with_its_tokens() -> None:
    generator = ScriptedGenerator(lambda messages, sampling: "[Relevant] True", special=TOKENS)
    found, _ = run("selfrag", generator, {}, documents=[KITE], task_name="boolq")
    assert found.text == "True"
    assert all(
        "True or False" in c.prompt[0].content and f"## Input:\n\n{QUESTION}" in c.prompt[0].content
        for c in generator.calls
    )


def test_the_score_is_the_papers() -> None:
    weights = SelfRagConfig(w_rel=2.0, w_sup=3.0, w_use=4.0)
    found = score(0.5, 0.25, (0.5, 0.25, 0.25), (0.2, 0.2, 0.2, 0.2, 0.2), weights)
    assert found == pytest.approx(0.5 + 2 * 0.25 + 3 * (0.5 + 0.125) + 4 * 0)
    assert shares({" Yes": math.log(0.3), "n": math.log(0.1), "other": math.log(0.6)}, ("yes", "no")) == [
        pytest.approx(0.75),
        pytest.approx(0.25),
    ]
    assert shares({"other": 0.0}, ("yes", "no")) == [0.5, 0.5]


# -- planner ---------------------------------------------------------------------------------------------------------


def test_the_planner_answers_parts_and_puts_them_together() -> None:
    def reply(messages: Messages, sampling: Sampling) -> str:
        head, body = messages[0].content, messages[-1].content
        if head.startswith("Split"):
            return '["Which bird soars?", "Where does #1 nest?"]'
        if "1. Which bird soars?" in head:
            return "in woods" if "2. Where does red kite nest? oak woods" in head else "nowhere"
        return "oak woods" if "Where does red kite nest?" in body else reads(messages, sampling)

    found, retriever = run("planner", ScriptedGenerator(reply), {"Which bird soars?": [OWL, KITE]})
    assert found.text == "in woods" and found.details == {"sub_questions": 2.0}
    assert [queries for queries, _ in retriever.calls] == [("Which bird soars?",), ("Where does red kite nest?",)]
    assert found.hits == (KITE, OWL) and found.cost.calls == 4


def test_a_question_that_is_not_split_is_answered_at_once() -> None:
    generator = ScriptedGenerator(reads)
    found, _ = run("planner", generator, {QUESTION: [KITE]})
    assert (found.text, found.hits, len(generator.calls)) == ("red kite", (KITE,), 2)


@pytest.mark.parametrize(
    ("plan", "parts"),
    [
        ('Sure: ["Who?", "When?"] done', ["Who?", "When?"]),
        ("1. Who?\n2) When?\n- Why?\nThat is all.", ["Who?", "When?", "Why?"]),
        ('["Who?", ', [QUESTION]),
        ("", [QUESTION]),
    ],
)
def test_plans_are_read_as_json_or_lines(plan: str, parts: list[str]) -> None:
    assert sub_questions(plan, QUESTION) == parts
