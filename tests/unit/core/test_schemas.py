"""Schemas and rows from dataclasses and NamedTuples: what goes in comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.errors import WbragError
from wbrag.core.io.schemas import from_row, from_table, schema_of, to_row, to_table
from wbrag.core.types import Example, Int32, Passage, SourceRef, Unit

_text, _number = pa.string(), pa.float64()


class Point(NamedTuple):
    x: float
    label: str | None = None


@dataclass(frozen=True)
class Everything:
    key: int = field(default=0, kw_only=True)
    text: str
    flag: bool
    narrow: Annotated[int, "int8"]
    state: Literal["on", "off"]
    maybe: Int32 | None
    ranks: tuple[Int32, ...]
    texts: list[str]
    gaps: tuple[float | None, ...]
    sources: tuple[SourceRef, ...]
    point: Point
    points: tuple[Point, ...] | None
    scores: dict[str, float]
    other: dict[str, Any]
    told: Annotated[tuple[Point, ...], "json"]
    vector: npt.NDArray[np.float32] = field(compare=False)


# A record has a dozen collections, some within others; short ones leave room for all.
_few, _named = partial(st.lists, max_size=3), partial(st.dictionaries, max_size=3)
INT32 = st.integers(-(2**31), 2**31 - 1)
FLOATS = st.floats(allow_nan=False)
POINTS = st.builds(Point, FLOATS, st.none() | st.text())
JSON = st.recursive(
    st.none() | st.booleans() | INT32 | st.text(), lambda x: _few(x) | _named(st.text(), x), max_leaves=8
)
EVERYTHING = st.builds(
    Everything,
    key=INT32,
    text=st.text(),
    flag=st.booleans(),
    narrow=st.integers(-128, 127),
    state=st.sampled_from(["on", "off"]),
    maybe=st.none() | INT32,
    ranks=_few(INT32).map(tuple),
    texts=_few(st.text()),
    gaps=_few(st.none() | FLOATS).map(tuple),
    sources=_few(st.tuples(st.text(), st.text())).map(tuple),
    point=POINTS,
    points=st.none() | _few(POINTS).map(tuple),
    scores=_named(st.text(), FLOATS),
    other=_named(st.text(), JSON),
    told=_few(POINTS).map(tuple),
    vector=_few(st.floats(width=32, allow_nan=False)).map(lambda values: np.array(values, np.float32)),
)


def test_the_column_type_of_every_type_hint() -> None:
    point = pa.struct([("x", _number), ("label", _text)])
    assert schema_of(Everything) == pa.schema(
        [
            ("key", pa.int64()),
            ("text", _text),
            ("flag", pa.bool_()),
            ("narrow", pa.int8()),
            ("state", _text),
            ("maybe", pa.int32()),
            ("ranks", pa.list_(pa.int32())),
            ("texts", pa.list_(_text)),
            ("gaps", pa.list_(_number)),
            ("sources", pa.list_(pa.struct([("id", _text), ("content_hash", _text)]))),
            ("point", point),
            ("points", pa.list_(point)),
            ("scores", _text),
            ("other", _text),
            ("told", _text),
            ("vector", pa.list_(pa.float32())),
        ]
    )


@given(st.lists(EVERYTHING, max_size=3))
def test_records_come_back_from_parquet_as_they_were(records: list[Everything]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(to_table(Everything, records), sink)
    table = pq.read_table(pa.BufferReader(sink.getvalue()))
    found = from_table(Everything, table)
    assert found == records
    for before, after in zip(records, found):
        assert after.vector.dtype == np.float32 and np.array_equal(before.vector, after.vector)
        assert all(type(source) is tuple for source in after.sources) and isinstance(after.point, Point)
    assert table.to_pylist() == [to_row(record) for record in records], "a row is not as Arrow gives it back"


@given(EVERYTHING)
def test_a_row_says_the_same_as_the_record(record: Everything) -> None:
    assert from_row(Everything, to_row(record)) == record


def test_a_missing_or_null_column_takes_the_default_and_an_unknown_one_is_passed_over() -> None:
    assert from_row(Passage, {"id": "p", "title": "t", "text": "x", "trust": None, "colour": "red"}) == Passage(
        "p", "t", "x"
    )
    first, second = (from_row(Example, {"id": "q", "question": "?", "golden_answers": []}) for _ in range(2))
    assert first.metadata == {} and first.metadata is not second.metadata


class Weighted(NamedTuple):
    name: str
    weight: float | None = 1.0


def test_a_null_is_none_where_the_field_may_be_none() -> None:
    assert from_row(Weighted, {"name": "a", "weight": None}) == Weighted("a", None)
    assert from_row(Weighted, {"name": "a"}) == Weighted("a", 1.0)


@pytest.mark.parametrize("row", [{"weight": 1.0}, {"name": None}])
def test_a_value_that_must_be_there_is_missed_by_its_name(row: dict[str, Any]) -> None:
    with pytest.raises(WbragError, match="expected a name in every row of Weighted, found none"):
        from_row(Weighted, row)


def test_json_text_is_equal_for_equal_dicts_and_takes_only_what_it_can_give_back() -> None:
    rows = [to_row(Unit("", "", (), (), (), scores)) for scores in ({"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0})]
    assert rows[0] == rows[1]
    with pytest.raises(TypeError, match="not JSON serializable"):
        to_row(Unit("", "", (), (), (), {"a": np.float32(1)}))
    assert to_row(Example("q", "?", (), metadata={"file": Path("a")}))["metadata"] == '{"file": "a"}'


class Pair(NamedTuple):
    nameless: tuple[str, str]


class Bytes(NamedTuple):
    raw: bytes


class Either(NamedTuple):
    one: int | str


class Misnamed(NamedTuple):
    pair: Annotated[tuple[str, str], ("only",)]


@pytest.mark.parametrize("record", [Pair, Bytes, Either])
def test_a_type_hint_without_a_column_type_is_refused(record: type) -> None:
    with pytest.raises(TypeError, match="expected a type hint that has a column type"):
        schema_of(record)


def test_every_part_of_a_tuple_needs_a_name() -> None:
    with pytest.raises(ValueError, match="zip"):
        schema_of(Misnamed)
