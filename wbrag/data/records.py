"""Record parsing: one raw record to a `Passage` or an `Example`, by a column map.

A record that does not fit is a `WbragError` that says where it is, what was expected and what was found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from wbrag.core.errors import WbragError
from wbrag.core.types import Example, Passage, content_hash
from wbrag.data.readers import Input

T = TypeVar("T")
_ABSENT = object()
LONGEST = 200  # characters of what is quoted in an error


def passage(where: str, record: Mapping[str, Any], columns: Mapping[str, str]) -> Passage:
    """A corpus record: id, text (or FlashRAG's contents, `title\\ntext`) and, where there, Passage's other fields."""

    def get(field: str, default: Any) -> Any:
        return _get(where, record, columns, field, default)

    title, text = as_text(get("title", "")), get("text", _ABSENT)
    if text is _ABSENT:
        contents = get("contents", _ABSENT)
        if contents is _ABSENT:
            raise _missing(where, record, "text", "'text' (or 'contents')")
        head, newline, rest = as_text(contents).partition("\n")
        title, text = (title or head, rest) if newline else (title, head)
    text = as_text(text)
    start = int(_number(where, "start", get("start", 0)))
    return Passage(
        id=_identifier(where, _need(where, record, columns, "id")),
        title=title,
        text=text,
        source=as_text(get("source", "")),
        updated_at=as_text(get("updated_at", "")),
        trust=_number(where, "trust", get("trust", 1.0)),
        start=start,
        end=int(_number(where, "end", get("end", start + len(text)))),
    )


def example(source: Input, where: str, record: Mapping[str, Any]) -> Iterator[Example]:
    """A labelled question: question, golden_answers and, where there, id and metadata (an object or its JSON)."""
    columns = source.columns
    metadata = _get(where, record, columns, "metadata", {})
    if isinstance(metadata, str):
        parsed = _parsed(metadata, dict)
        metadata = {"metadata": metadata} if parsed is None else parsed
    yield from labelled(
        source,
        where,
        _get(where, record, columns, "id", None),
        as_text(_need(where, record, columns, "question")),
        None if source.unlabelled else _need(where, record, columns, "golden_answers"),
        metadata if isinstance(metadata, dict) else {"metadata": metadata},
    )


def labelled(
    source: Input,
    where: str,
    id: Any,
    question: str,
    answers: Any,
    metadata: Mapping[str, Any] | None = None,
    hint: str = "",
) -> Iterator[Example]:
    """One Example; without an id it gets one from its contents.

    Without a golden answer it is a WbragError that ends in `hint`. Where there are answers but all of them are blank,
    as in published sets, the row is quarantined: an empty answer would be contained in every reply.
    """
    name = f"{where} (id {named([id])})" if id else where
    if isinstance(answers, Mapping):
        raise WbragError(
            f"{name}: expected golden answers as a list or text, found an object with {named(answers)}; "
            "name the part that holds them, as in --columns golden_answers=answers.text"
        )
    golden = () if source.unlabelled else golden_answers(answers)
    if not golden and not source.unlabelled:
        if isinstance(answers, list) and answers:
            source.quarantined += 1
            return
        raise WbragError(f"{name}: expected at least one golden answer, found none; {hint or 'label or drop it'}")
    if not question.strip():
        raise WbragError(f"{name}: expected a question, found an empty one; fill it in or drop it")
    if id is None or id == "":
        id = content_hash("\n".join((question, *golden)))[:16]
    yield Example(str(id), question, golden, metadata=dict(metadata or {}))


def golden_answers(value: Any) -> tuple[str, ...]:
    """The distinct non-empty answers of a list, of a JSON list in a string, or of one plain value; True -> "True"."""
    if isinstance(value, str):
        parsed = _parsed(value, list)
        value = [value] if parsed is None else parsed
    elif not isinstance(value, Iterable):
        value = [value]
    texts = (as_text(answer).strip() for answer in value)
    return tuple(dict.fromkeys(text for text in texts if text))


def as_text(value: Any) -> str:
    """`value` as text: None is empty, a list of paragraphs is joined by blank lines, a date is ISO 8601."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n\n".join(as_text(part).strip("\n") for part in value)
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def need(where: str, record: Any, name: str, kind: type[T]) -> T:
    """record[name], which must be a `kind`; for formats whose field names are fixed."""
    if not isinstance(record, Mapping) or not isinstance(record.get(name), kind):
        found = named(record) if isinstance(record, Mapping) else type(record).__name__
        if isinstance(record, Mapping) and name in record:
            found = f"{name} as {type(record[name]).__name__}"
        raise WbragError(
            f"{where}: expected a field {name!r} ({kind.__name__}), found {found}; is it the right format?"
        )
    value: T = record[name]
    return value


def _get(where: str, record: Mapping[str, Any], columns: Mapping[str, str], field: str, default: Any) -> Any:
    """The value of wbrag's `field`, or `default`; a column named in the map must be there, and may be a path (a.b)."""
    name = columns.get(field, field)
    if name in record:
        value = record[name]
    elif field not in columns:
        return default
    else:
        value = record
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                raise _missing(where, record, field, repr(name))
            value = value[part]
    return default if value is None and default is not _ABSENT else value


def _need(where: str, record: Mapping[str, Any], columns: Mapping[str, str], field: str) -> Any:
    value = _get(where, record, columns, field, _ABSENT)
    if value is _ABSENT:
        raise _missing(where, record, field, repr(field))
    return value


def named(record: Iterable[Any]) -> str:
    """A record's names for a sentence: on one line, and not all of thousands."""
    text = ", ".join(" ".join(str(name).split()) for name in record)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _missing(where: str, record: Mapping[str, Any], field: str, wanted: str) -> WbragError:
    found = named(record) or "nothing"
    return WbragError(f"{where}: expected a column {wanted}, found {found}; name it with --columns {field}=<column>")


def _identifier(where: str, value: Any) -> str:
    if value is None or value == "":
        raise WbragError(f"{where}: expected an id, found an empty one; give every record its own")
    return str(value)


def _number(where: str, field: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise WbragError(f"{where}: expected a number as {field}, found {str(value)[:LONGEST]!r}; correct it")
    return number


def _parsed(text: str, kind: type[T]) -> T | None:
    """The JSON value of that kind that `text` holds, if it does."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, kind) else None
