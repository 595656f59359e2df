"""Values of other types become what they mean, or are refused by name; never Python's repr."""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.errors import WbragError
from wbrag.data import ingest_corpus, ingest_examples
from wbrag.data.values import Values, missing

NOWHERE = "c.jsonl, line 1"


def values() -> Values:
    found = Values()
    found.where = NOWHERE
    return found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (Decimal("nan"), ""),
        ("a", "a"),
        (b"caf\xc3\xa9", "café"),
        (12, "12"),
        (12.0, "12"),
        (1.5, "1.5"),
        (Decimal("12.00"), "12"),
        (Decimal("0.10"), "0.10"),
        (True, "True"),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, 3), "2024-01-02T03:00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (["One.", None, "Two."], "One.\n\nTwo."),
        ([["One."], ["Two.", "Three."]], "One.\n\nTwo.\n\nThree."),
    ],
)
def test_text(value: Any, text: str) -> None:
    assert values().text("text", value) == text


@pytest.mark.parametrize("value", [{"body": "x", "lang": "en"}, [{"body": "x"}], b"\xff", math.inf, object(), 1j])
def test_what_is_no_text_is_refused_by_name(value: Any) -> None:
    with pytest.raises(
        WbragError, match="c.jsonl, line 1: expected (text|UTF-8) in the field 'text', found "
    ) as refused:
        values().text("text", value)
    assert "0x" not in str(refused.value)
    if isinstance(value, dict):
        assert "body, lang" in str(refused.value) and "--columns text=text.body" in str(refused.value)
        with pytest.raises(WbragError, match="--columns text=content.body"):
            Values({"text": "content"}).text("text", value)


@pytest.mark.parametrize(
    ("value", "id"), [("a b", "a b"), (7, "7"), (12.0, "12"), (b"x", "x"), (2**60, str(2**60)), (UUID(int=0), None)]
)
def test_ids(value: Any, id: str | None) -> None:
    assert values().identifier(value) == (id or str(value))


@pytest.mark.parametrize("value", [None, math.nan, "", "  ", True, [1], {"$oid": "x"}, float(2**53), 1e300])
def test_what_is_no_id(value: Any) -> None:
    with pytest.raises(WbragError, match=r"expected (an id|.* in the field 'id')"):
        values().identifier(value)


@pytest.mark.parametrize(
    ("value", "answers"),
    [
        (["A", "B", "A", " ", None], ("A", "B")),
        ([["A", "a"], ["B"]], ("A", "a", "B")),
        ('["A", "B"]', ("A", "B")),
        ("['A', 'B']", ("A", "B")),
        ("[['A'], ['B', None]]", ("A", "B")),
        ("[sic]", ("[sic]",)),
        ("[1] Paris", ("[1] Paris",)),
        ("__import__('os')", ("__import__('os')",)),
        ("[__import__('os')]", ("[__import__('os')]",)),
        (False, ("False",)),
        ([1990.0, 2], ("1990", "2")),
        (math.nan, ()),
        ([], ()),
        ([[], [""]], ()),
    ],
)
def test_answers(value: Any, answers: tuple[str, ...]) -> None:
    assert values().answers(value) == answers


@pytest.mark.parametrize(
    "value",
    [
        "['A' 'B']",
        '["A"\n "B"]',
        "array(['A'], dtype=object)",
        "{'text': array(['A'])}",
        {"text": ["A"]},
        [{"text": "A"}],
    ],
)
def test_answers_that_nobody_can_read(value: Any) -> None:
    with pytest.raises(WbragError, match="expected golden answers as a ") as refused:
        values().answers(value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [True, "high", math.inf, [1], "nan"])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(WbragError, match="expected a number as trust"):
        values().number("trust", value, 1.0)


@pytest.mark.parametrize(("value", "number"), [(None, 1.0), (math.nan, 1.0), ("", 1.0), ("0.5", 0.5), (0, 0.0)])
def test_numbers(value: Any, number: float) -> None:
    assert values().number("trust", value, 1.0) == number


def test_broken_characters_are_mended_and_their_records_counted() -> None:
    read = values()
    assert read.text("text", "a\0b\ud83dc\ud83d\ude00") == "ab\ufffdc\U0001f600"
    assert read.text("title", "\udc00") == "\ufffd"
    assert read.mended == 1
    read.where = "c.jsonl, line 2"
    assert read.text("text", "fine, also 😀") == "fine, also 😀"
    assert read.mended == 1
    assert read.answers(["\0A"]) == ("A",)
    assert read.mended == 2


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.binary(), st.lists))
def test_no_text_says_nan_or_none_and_every_text_can_be_written(value: Any) -> None:
    try:
        text = values().text("text", value)
    except WbragError as error:
        assert "\n" not in str(error)
        return
    text.encode()
    assert "\0" not in text
    if missing(value):
        assert text == ""


METADATA = {
    "when": date(2024, 1, 2),
    "score": math.nan,
    "blob": b"x",
    "parts": [Decimal("1.5")],
    "n": 3,
    "gold": [12.0],
}


def test_metadata_is_json() -> None:
    found = values().json("metadata", METADATA)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == METADATA | {"when": "2024-01-02", "score": None, "blob": "x", "parts": ["1.5"]}


def test_a_table_of_pandas(tmp_path: Path) -> None:
    """Where one value was missing pandas makes floats of ids, and NaN of text."""
    table = pa.table(
        {
            "id": pa.array([12.0, 13.0, None]),
            "title": pa.array([float("nan"), 1984.0, 3.0]),
            "text": ["One.", None, "Three."],
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    with pytest.raises(WbragError, match=r"c.parquet, row 3: expected an id, found an empty one"):
        ingest_corpus(tmp_path / "c.parquet", tmp_path / "corpus", format="parquet")
    result = ingest_corpus(
        tmp_path / "c.parquet", tmp_path / "corpus", format="parquet", on_bad="skip", kept_in=tmp_path / "left.jsonl"
    )
    [row] = pq.read_table(result.path).to_pylist()
    assert (row["id"], row["title"], row["text"]) == ("12", "", "One.")
    assert (result.quarantined, result.left_out) == (2, {"no text": 1, "does not fit": 1})
    left = [json.loads(line) for line in (tmp_path / "left.jsonl").read_text().splitlines()]
    assert [item["where"].rsplit(", ")[1] for item in left] == ["row 2", "row 3"]
    assert left[1]["record"]["text"] == "Three."


def test_titles_alone_and_missing_parts(tmp_path: Path) -> None:
    """BEIR judges documents whose text is empty; a part of nothing is nothing."""
    records = [
        {"id": "t", "title": "A title", "body": {"text": ""}},
        {"id": "n", "title": "A title", "body": None},
        {"id": "b", "title": " ", "body": {"text": "\u200b\ufeff "}},
    ]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    result = ingest_corpus(tmp_path / "c.jsonl", tmp_path / "c", format="jsonl", columns={"text": "body.text"})
    assert (result.rows, result.left_out) == (1, {"no text": 2})
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "t", "text": "x", "start": 2**31}))
    with pytest.raises(WbragError, match="expected start as a whole number of 32 bits, found 2147483648"):
        ingest_corpus(tmp_path / "c.jsonl", tmp_path / "c", format="jsonl")


def test_gold_passages_are_named_as_the_corpus_names_them(tmp_path: Path) -> None:
    record = {"question": "Who?", "golden_answers": ["A"], "metadata": {"gold": [12.0, 13]}}
    (tmp_path / "e.jsonl").write_text(json.dumps(record))
    result = ingest_examples(tmp_path / "e.jsonl", tmp_path / "e.parquet", format="jsonl", task="qa")
    assert json.loads(pq.read_table(result.path)["metadata"][0].as_py()) == {"gold": ["12", "13"]}
