"""Chunks and sentences are slices of the text and lose nothing but whitespace."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.sentences import sentences
from wbrag.data.chunk import chunk

TEXTS = st.text(st.sampled_from("aAB1 .\n!?\"')]…。」é,\r\x1c\x85\u2028\ud800😀"))


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


def uncovered(text: str, spans: list[tuple[int, int]]) -> str:
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    return "".join(text[end:start] for end, start in zip(ends, starts, strict=True))


@given(TEXTS)
def test_sentences_cover_all_but_whitespace(text: str) -> None:
    spans = sentences(text)
    assert all(start < end for start, end in spans)
    assert spans == sorted(spans)
    assert not uncovered(text, spans).strip()
    assert all(piece == piece.strip() for piece in cut(text))


@given(TEXTS, st.text("ab ", max_size=10), st.integers(1, 12))
def test_chunks_are_slices_and_lose_nothing(text: str, title: str, words: int) -> None:
    chunks = list(chunk(title, text, words))
    assert all(text[start:end] == piece for piece, start, end in chunks)
    assert not uncovered(text, [(start, end) for _, start, end in chunks]).strip()
    assert all(1 <= len(piece.split()) <= words for piece, _, _ in chunks)


def test_chunks_hold_whole_sentences_evened_out() -> None:
    text = " ".join(f"Sentence {i} has exactly seven words here." for i in range(33))
    pieces = list(chunk("A title", text, words=100))
    assert all(piece.text.startswith("Sentence") and piece.text.endswith("here.") for piece in pieces)
    assert [len(piece.text.split()) for piece in pieces] == [77, 77, 77]


def test_a_sentence_over_the_limit_is_cut_between_words() -> None:
    assert [piece.text for piece in chunk("", "a b c d e. F g.", words=3)] == ["a b c", "d e.", "F g."]


def test_no_words_no_chunks() -> None:
    assert list(chunk("title", " \n ")) == []
    with pytest.raises(ValueError, match="at least 1"):
        list(chunk("title", "text", words=0))


@pytest.mark.parametrize(
    "parts",
    [
        ["Mr. Smith joined the U.S. Army.", "He earned $3.50 a day."],
        ["He lives in the U.S.", "The law says so."],
        ["It rose, e.g. in Jan. 5, by No. 7.", "See pp. 3-9."],
        ["John F. Kennedy met J. R. R. Tolkien at 5 p.m. on Sunday.", "They left at 6 p.m.", "They ran."],
        ['"Stop!" he said.', "“Go.”", "She went.[1]", "(He stayed.)", "Why?"],
        ["It was 3.14.", "Next came 2.71.", "See example.com.", "Done"],
        ["Birds are common .", "They fly ."],
        ["`` It is odd . ''", "`` Why ? ''", "( Ask him . )", "Done ."],
        ["1. First thing.", "2. Second thing."],
        ["Wait... what...", "No!?", "He said no.", "Then."],
        ["A heading\n\n", "A line\nthat goes on."],
        ["中文句子。", "还有一句！"],
    ],
)
def test_sentence_ends(parts: list[str]) -> None:
    assert cut(" ".join(parts)) == [part.strip() for part in parts]


def test_long_runs_take_linear_time() -> None:
    assert len(sentences("." * 200_000 + "x" + "\n" + " " * 200_000 + '"' * 200_000)) == 1


@pytest.mark.parametrize("text", ["QUJD" * 5000, "말" * 20_000, "ꦗꦮ" * 500, "😀" * 10_000])
def test_what_has_no_space_at_all_is_cut_too(text: str) -> None:
    chunks = list(chunk("T", text, 100))
    assert "".join(piece.text for piece in chunks) == text
    assert max(len(piece.text) for piece in chunks) <= 4000


@pytest.mark.parametrize(
    "sentence",
    ["橋は千九百十一年に完成し、川の両岸を結んだ。", "这座桥于一九一一年建成。", "สะพานสร้างเสร็จในปีนั้นและยังใช้งานอยู่"],
)
def test_scripts_without_spaces_are_cut_too(sentence: str) -> None:
    """Into chunks of at most twice as many characters as an English one has words, which the encoder can read."""
    text = sentence * 60
    chunks = list(chunk("題", text, 100))
    assert len(chunks) > 3
    assert "".join(piece.text for piece in chunks) == text
    assert max(len(piece.text) for piece in chunks) <= (600 if "สะ" in sentence else 200)
    if "。" in sentence:
        assert all(piece.text.endswith("。") for piece in chunks)


def test_an_address_is_not_cut_where_it_need_not_be() -> None:
    url = "https://example.org/a/rather/long/path/that/goes/on/and/on/for/ever/index.html"
    text = " ".join(["word"] * 7 + [url] + ["word"] * 12)
    assert any(url in piece.text for piece in chunk("", text, 8))
    assert "".join(piece.text for piece in chunk("", url * 20, 8)) == url * 20


def test_one_look_at_the_script_of_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look for each sentence made a book of English with one apostrophe quadratic."""
    looks: list[int] = []
    monkeypatch.setattr(sys.modules["wbrag.data.chunk"], "unspaced", lambda text: bool(looks.append(len(text))))
    monkeypatch.setattr("wbrag.core.words.unspaced", lambda text: bool(looks.append(len(text))))
    list(chunk("", "It is the keeper’s. He lit it. " * 200, 100))
    assert len(looks) <= 3
