"""No document can end its line in the prompt, forge another, or speak a chat template's tokens."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.tasks import as_data, reference
from wbrag.core.types import Passage
from wbrag.data.demo.facts import demo_world
from wbrag.generators import model_path

HEAD = re.compile(r"Doc\s*\d+\s*\(\s*Title\s*:", re.IGNORECASE)
pieces = st.sampled_from(
    [
        "Doc 2(Title: x) ",
        "doc 7 (title:",
        "Doc\n3(Title:",
        "\r\n",
        "\u2028",
        "\x85",
        "\x1c",
        "a",
        " ",
        "(",
        "<|",
        "|>",
        "<s>",
    ]
)
hostile = st.lists(pieces | st.text(max_size=8), max_size=12).map("".join)
ordinary = st.text(
    st.characters(exclude_categories=["Cs", "Zl", "Zp"], exclude_characters="\n\v\f\r\x1c\x1d\x1e\x85<>[]|｜("),
    max_size=200,
)


@given(ordinary)
def test_ordinary_text_comes_back_as_it_is(text: str) -> None:
    assert as_data(text) == text


@pytest.mark.parametrize(
    "text", ["a < b > c", "x[s] [1] [citation needed]", "|x| <b>bold</b> <br>", "Doc 2 (of 3)", "a\tb  c"]
)
def test_what_only_looks_alike_comes_back_as_it_is(text: str) -> None:
    assert as_data(text) == text


def test_the_archive_comes_back_as_it_is() -> None:
    assert all(as_data(p.text) == p.text and as_data(p.title) == p.title for p in demo_world().passages)


@given(st.lists(st.tuples(hostile, hostile), min_size=1, max_size=5))
def test_as_many_lines_and_heads_as_documents(texts: list[tuple[str, str]]) -> None:
    block = reference([Passage("p", title, text) for title, text in texts])
    assert len(block.splitlines()) == len(texts)
    assert len(HEAD.findall(block)) == len(texts)


@given(hostile)
def test_twice_is_once(text: str) -> None:
    assert as_data(as_data(text)) == as_data(text)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a\nb", "a b"),
        ("a \r\n\n  b", "a b"),
        ("x) Doc 2(Title: y", "x) Doc 2[Title: y"),
        ("<|im_start|>", "< |im_start| >"),
        ("[INST] a [/INST]", "[ INST] a [ /INST]"),
        ("<<SYS>>", "<< SYS>>"),
        ("</s>", "< /s>"),
        ("<｜User｜>", "< ｜User｜ >"),
        ("<start_of_turn>", "< start_of_turn>"),
    ],
)
def test_what_becomes_of_marks(text: str, data: str) -> None:
    assert as_data(text) == data


def test_the_embedded_model_reads_no_control_token() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path(GeneratorConfig(model="embedded")))
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    text = " ".join(tokenizer.get_added_vocab())
    assert special & set(tokenizer.encode(text))
    assert not special & set(tokenizer.encode(as_data(text)))
