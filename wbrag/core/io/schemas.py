"""Arrow schemas from dataclasses and NamedTuples, and the codec between their instances and rows.

A column is a field, in the fields' order, and may be null. Every type hint has one column type:

    str, bool, int, float                   string, bool, int64, double
    Annotated[int, "int32"]                 the type of that name in `pyarrow.type_for_alias`
    Literal["a", "b"]                       the type of its values
    X | None                                that of X
    tuple[X, ...], list[X]                  list of X
    NDArray[np.float32]                     list of float
    Annotated[tuple[X, Y], ("a", "b")]      struct of a and b
    a dataclass, a NamedTuple               struct of its fields
    Annotated[X, "json"]                    JSON text
    dict[str, X]                            the same, keys sorted; of Any: as they came, what JSON cannot say by `str`
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from wbrag.core.errors import WbragError

T = TypeVar("T")
Convert = Callable[[Any], Any]
SCALARS = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}


class Column(NamedTuple):
    """How the values of one type hint are kept."""

    type: pa.DataType
    encode: Convert
    decode: Convert
    optional: bool = False  # a null is None, not the field's default


def schema_of(record: type) -> pa.Schema:
    """The Arrow schema of `record`'s fields. Raises `TypeError` for a type hint that has no column type."""
    return pa.schema(list(_column(record).type))


def to_row(record: Any) -> dict[str, Any]:
    """`record` as Arrow's `to_pylist` would give it back: lists, dicts for structs, JSON texts."""
    row: dict[str, Any] = _column(type(record)).encode(record)
    return row


def from_row(record: type[T], row: Mapping[str, Any]) -> T:
    """The `record` that `row` was made from; columns that it does not know are passed over.

    A field whose column is missing, or null where None is no value of it, takes its default. Raises `WbragError` where
    it has none.
    """
    found: T = _column(record).decode(row)
    return found


def to_table(record: type[T], records: Iterable[T]) -> pa.Table:
    """`records`, in order, as a table with the schema of `record`."""
    encode = _column(record).encode
    return pa.Table.from_pylist([encode(item) for item in records], schema_of(record))


def from_table(record: type[T], table: pa.Table) -> list[T]:
    """Each row of `table`, in order, as `from_row` reads it."""
    decode = _column(record).decode
    return [decode(row) for row in table.to_pylist()]


def _column(hint: Any) -> Column:
    origin, args = get_origin(hint), get_args(hint)
    if hint in SCALARS:
        return Column(SCALARS[hint], _same, _same)
    if is_dataclass(hint) or hasattr(hint, "_fields"):
        return _struct(hint)
    if origin is Annotated:
        return _annotated(*args)
    if origin is Literal:
        return _column(type(args[0]))
    if origin in (Union, UnionType) and len(args) == 2 and NoneType in args:
        return _optional(_column(args[0] if args[1] is NoneType else args[1]))
    if origin is list or (origin is tuple and args[1:] == (...,)):
        return _sequence(_column(args[0]), origin)
    if origin is dict:
        return _json(Column(pa.null(), _same, _same), sort_keys=Any not in args, default=str if Any in args else None)
    if origin is np.ndarray:
        [kind] = get_args(args[1])
        return Column(pa.list_(pa.from_numpy_dtype(kind)), np.ndarray.tolist, lambda value: np.asarray(value, kind))
    raise TypeError(f"expected a type hint that has a column type, found {hint}: see {__name__}")


@cache
def _struct(record: Any) -> Column:
    """Of the fields that the constructor takes, in the order in which the class names them."""
    hints, parameters = get_type_hints(record, include_extras=True), signature(record).parameters
    columns = {name: _column(hint) for name, hint in hints.items() if name in parameters}
    required = {name for name in columns if parameters[name].default is Parameter.empty}

    def encode(item: Any) -> dict[str, Any]:
        values = {name: getattr(item, name) for name in columns}
        return {name: None if value is None else columns[name].encode(value) for name, value in values.items()}

    def decode(row: Mapping[str, Any]) -> Any:
        values = {}
        for name, column in columns.items():
            value = row.get(name)
            if value is not None:
                values[name] = column.decode(value)
            elif column.optional and name in row:
                values[name] = None
            elif name in required:
                raise WbragError(
                    f"expected a {name} in every row of {record.__name__}, found none: "
                    "restore the file, or read it with the version of wbrag that wrote it"
                )
        return record(**values)

    return Column(pa.struct([(name, column.type) for name, column in columns.items()]), encode, decode)


def _annotated(hint: Any, mark: str | tuple[str, ...]) -> Column:
    if mark == "json":
        return _json(_column(hint))
    if isinstance(mark, str):
        return _column(hint)._replace(type=pa.type_for_alias(mark))
    parts = {name: _column(part) for name, part in zip(mark, get_args(hint), strict=True)}
    return Column(
        pa.struct([(name, part.type) for name, part in parts.items()]),
        lambda value: {name: part.encode(item) for (name, part), item in zip(parts.items(), value, strict=True)},
        lambda row: tuple(part.decode(row[name]) for name, part in parts.items()),
    )


def _optional(column: Column) -> Column:
    return Column(
        column.type,
        lambda value: None if value is None else column.encode(value),
        lambda value: None if value is None else column.decode(value),
        optional=True,
    )


def _sequence(item: Column, kind: Callable[[Iterable[Any]], Sequence[Any]]) -> Column:
    if item.encode is _same:
        return Column(pa.list_(item.type), list, kind)
    return Column(
        pa.list_(item.type),
        lambda values: [item.encode(value) for value in values],
        lambda values: kind(item.decode(value) for value in values),
    )


def _json(column: Column, **options: Any) -> Column:
    return Column(
        pa.string(),
        lambda value: json.dumps(column.encode(value), **options),
        lambda text: column.decode(json.loads(text)),
    )


def _same(value: Any) -> Any:
    return value
