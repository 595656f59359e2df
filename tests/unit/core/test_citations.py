"""Citations are those of documents that there are, whatever a model writes, whole or in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.citations import ProseReader, cited, clean, order, read_prose


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("It was oak [1].", "It was oak [1]."),
        ("It was oak [7].", "It was oak."),
        ("It was oak [1, 2] and ash [2,9].", "It was oak [1][2] and ash [2]."),
        ("It was oak [Doc 1][Document 3].", "It was oak [1][2]."),
        ("Es war Eiche 【2†source】.", "Es war Eiche [1]."),
        ("It was oak [3], not ash [1], I say [3].", "It was oak [1], not ash [2], I say [1]."),
        ("It was oak [1-3].", "It was oak [1][2][3]."),
        ("It was oak [docs 1 & 2].", "It was oak [1][2]."),
        ("It was built [in 1953] and [sic] sold.", "It was built [in 1953] and [sic] sold."),
        ("It was built in [1953].", "It was built in."),
        ("Zero [0], and none []: a[1]", "Zero, and none []: a[1]"),
        ("x = a[i] and b[12]", "x = a[i] and b"),
        ("A list:\n- oak [1]\n- ash [9]", "A list:\n- oak [1]\n- ash"),
    ],
)
def test_what_models_write(said: str, read: str) -> None:
    assert clean(said, 3) == read
    assert clean(read, 3) == read, "a cleaned text is clean"


pieces = st.lists(st.sampled_from(["[", "]", "1", "2", "9", ", ", " ", "oak", ".", "\n", "【", "】", "Doc ", "-", "†"]))


@given(pieces, st.integers(0, 3))
def test_in_pieces_it_is_what_it_is_whole(parts: list[str], documents: int) -> None:
    reader = ProseReader(lambda: documents)
    whole = "".join(reader.feed(part) for part in parts) + reader.end()
    assert whole == read_prose("".join(parts), documents)
    assert all(1 <= number <= documents for number, _, _ in cited(whole))
    assert all(whole[start:end] == f"[{number}]" for number, start, end in cited(whole))
    seen = list(dict.fromkeys(number for number, _, _ in cited(whole)))
    assert seen == list(range(1, len(seen) + 1)), "counted as a reader comes upon them"
    assert sorted(order("".join(parts), documents)) == list(range(1, documents + 1))


def test_a_long_bracket_is_not_waited_for() -> None:
    reader = ProseReader(lambda: 1)
    assert reader.feed("It [" + "x" * 100) == "It [" + "x" * 100
    assert reader.feed(" [1") == "" and reader.feed("]") == " [1]"
