"""Every family's chat template: what the model reads, and where its answer begins."""

from __future__ import annotations

import logging

import pytest

from tests.support.families import TEMPLATES, tokenizer
from wbrag.core.errors import UsageError
from wbrag.core.types import Message
from wbrag.generators.chat_template import ChatTemplate

ASKED = [Message("system", "Be short."), Message("user", "Who lit the lamp?")]


def text(template: ChatTemplate, *turns: Message) -> str:
    return str(template.tokenizer.decode(template.ids(turns or ASKED)))


@pytest.mark.parametrize("family", TEMPLATES)
def test_the_model_reads_the_system_prompt_once_and_the_question_after_it(family: str) -> None:
    found = text(ChatTemplate(tokenizer(family), {}))
    assert found.count("Be short.") == found.count("Who lit the lamp?") == 1
    assert found.index("Be short.") < found.index("Who lit")


@pytest.mark.parametrize(
    ("family", "folds"), [("llama 3", False), ("gemma 2", True), ("qwen 3", False), ("mistral", True)]
)
def test_where_it_stands(family: str, folds: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        template = ChatTemplate(tokenizer(family), {})
        assert template.folds == folds and ("goes before the user's text" in caplog.text) == folds
    assert ("Be short.\n\nWho lit" in text(template)) == folds


@pytest.mark.parametrize("family", TEMPLATES)
def test_what_is_written_is_gone_on_with(family: str) -> None:
    template = ChatTemplate(tokenizer(family), {})
    found = text(template, *ASKED, Message("assistant", "It was"))
    assert found == text(template) + "It was"


def test_arguments_reach_the_template() -> None:
    assert text(ChatTemplate(tokenizer("qwen 3"), {"enable_thinking": False})).endswith("</think>\n\n")
    assert text(ChatTemplate(tokenizer("qwen 3"), {})).endswith("assistant\n")


def test_a_block_that_the_template_opens_is_seen() -> None:
    for family, expected in (("deepseek r1", True), ("qwen 3", False), ("llama 3", False)):
        template = ChatTemplate(tokenizer(family), {})
        assert template.opened(template.ids(ASKED)) == expected
    shut = ChatTemplate(tokenizer("qwen 3"), {"enable_thinking": False})
    assert not shut.opened(shut.ids(ASKED))


def test_folding_can_be_asked_for() -> None:
    assert "<|im_start|>system" not in text(ChatTemplate(tokenizer("qwen 3"), {}, fold=True))


def test_a_base_model_reads_lines() -> None:
    template = ChatTemplate(tokenizer("base"), {})
    assert template.base and text(template) == "Be short.\nWho lit the lamp?\nAnswer:"
    assert text(template, *ASKED, Message("assistant", "It")) == "Be short.\nWho lit the lamp?\nAnswer: It"


def test_a_template_that_takes_nobody_is_refused_in_one_sentence() -> None:
    broken = tokenizer("llama 3")
    broken.chat_template = "{{ raise_exception('no turn of any kind') }}"
    with pytest.raises(UsageError, match="no turn of any kind"):
        ChatTemplate(broken, {}).ids(ASKED)


def test_tags_that_are_special_tokens_are_kept_and_others_go() -> None:
    mistral = tokenizer("mistral")
    assert ChatTemplate(mistral, {}).cleared == ()
    mistral.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]", "[INST]"]})
    template = ChatTemplate(mistral, {})
    assert "[INST]" in template.cleared and "[THINK]" not in template.cleared
    assert template.plain("[THINK]so[/THINK]Pell</s>") == "[THINK]so[/THINK]Pell"


OWN = [
    "<|im_end|>",
    "[gMASK]",
    "<sop>",
    "<extra_id_1>",
    "<start_of_image>",
    "<tools>",
    "]~b]",
    ">>TITLE<<",
    "<｜fim▁hole｜>",
]


@pytest.mark.parametrize("family", [*TEMPLATES, "base"])
def test_nothing_that_is_asked_or_found_holds_the_models_own_tokens(family: str) -> None:
    """Special or not, of any shape: what counts is what the tokenizer of the configured model has."""
    own = tokenizer(family)
    own.add_tokens(OWN, special_tokens=True)
    own.add_tokens(["<table>", "[[note]]", "   ", "<tool_call>"])  # not special: HTML and marks are text
    template = ChatTemplate(own, {})
    added = {str(token) for token in own.added_tokens_decoder.values()} - {"   ", "<table>", "[[note]]"}
    assert len(added) >= len(OWN)
    for token in added:
        if token[0].isalnum():
            continue
        plain, asked = (Message("user", f"Who {said} lit{said}the lamp?{said}") for said in ("", token))
        marks = {own.convert_tokens_to_ids(token)}
        before, after = ([id for id in template.ids([ASKED[0], turn]) if id in marks] for turn in (plain, asked))
        assert before == after, token
        assert template.apart(template.apart(token)) == template.apart(token) != token
    assert (
        template.apart("Ordinary   text [1] of x < y and a<b>c, at 5 | 6.")
        == "Ordinary   text [1] of x < y and a<b>c, at 5 | 6."
    )
