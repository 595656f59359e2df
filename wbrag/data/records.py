"""Record parsing: one raw record to a `Passage` or an `Example`, by a column map.

A record that does not fit is a `WbragError` that says where it is, what was expected and what was found.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from wbrag.core.errors import WbragError
from wbrag.core.types import Example, Passage, content_hash
from wbrag.data.source import NO_ANSWER, NO_QUESTION, NO_TEXT, Input
from wbrag.data.values import KINDS, kind_of, missing, named, parsed

T = TypeVar("T")
_ABSENT = object()
# Letters and symbols that show nothing: fillers of Hangul, vowel separators of Mongolian, the empty Braille cell.
UNSEEN = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp", "Zs"])
FILLERS = frozenset("\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u2800\u3164\uffa0")


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: spaces, controls, marks of direction and joining, fillers."""
    return all(c in FILLERS or unicodedata.category(c) in UNSEEN for c in text)


def passage(source: Input, record: Mapping[str, Any], columns: Mapping[str, str] | None = None) -> Iterator[Passage]:
    """A corpus record: id, text (or FlashRAG's contents, `title\\ntext`) and, where there, Passage's other fields.

    One without text is left out: it would take a place among the hits and in the prompt. A title is text enough where
    the text is there and empty, as in BEIR's sets, whose titles are judged.
    """
    columns, values = source.columns if columns is None else columns, source.values

    def get(field: str, default: Any = None) -> Any:
        return _get(source, record, columns, field, default)

    title, text = values.text("title", get("title")), get("text", _ABSENT)
    if text is _ABSENT or (missing(text) and "text" not in columns and get("contents") is not None):
        contents = get("contents", _ABSENT)
        if contents is _ABSENT:
            raise _absent(source, record, "text", "'text' (or 'contents')")
        head, newline, rest = values.text("contents", contents).partition("\n")
        title, text = (title or head, rest) if newline else (title, head)
    nothing = missing(text)
    text = values.text("text", text)
    id = values.identifier(_need(source, record, columns, "id"))
    if is_blank(text) and (nothing or is_blank(title)):
        source.leave_out(f"{source.where}: expected a text, found none", record, NO_TEXT)
        return
    start = values.integer("start", get("start"), 0)
    yield Passage(
        id=id,
        title=title,
        text=text,
        source=values.text("source", get("source")),
        updated_at=values.text("updated_at", get("updated_at")),
        trust=values.number("trust", get("trust"), 1.0),
        start=start,
        end=values.integer("end", get("end"), start + len(text)),
        groups=values.groups(get("groups")),
        metadata=_kept(source, record),
    )


def _kept(source: Input, record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record is kept to narrow searches by."""
    kept = {}
    for name in source.metadata:
        if (value := _at(record, name)) is not _ABSENT:
            source.found.add(name)
            if (found := source.values.label(name, value)) is not None:
                kept[name] = found
    return kept


def _at(record: Mapping[str, Any], name: str) -> Any:
    value: Any = record
    for part in [name] if name in record else name.split("."):
        value = _part(value, part)
    return value


def passes(source: Input, record: Mapping[str, Any]) -> bool:
    """Whether the input's filter lets a record pass; one without a field that is asked for does not."""
    for name, test in source.tests.items():
        value = _at(record, name)
        told = None if value is _ABSENT or isinstance(value, Mapping) else source.values.label(name, value)
        if told is None or not test(json.dumps(told)):
            source.filtered += 1
            return False
    return True


def example(source: Input, record: Mapping[str, Any]) -> Iterator[Example]:
    """A labelled question: question, golden_answers and, where there, id and metadata (an object or its JSON)."""
    columns = source.columns
    metadata = _get(source, record, columns, "metadata", {})
    if isinstance(metadata, str):
        read = parsed(metadata, dict)
        metadata = {"metadata": metadata} if read is None else read
    yield from labelled(
        source,
        _get(source, record, columns, "id", None),
        _need(source, record, columns, "question"),
        None if source.unlabelled else _need(source, record, columns, "golden_answers"),
        metadata if isinstance(metadata, dict) else {} if missing(metadata) else {"metadata": metadata},
        record=record,
    )


def labelled(
    source: Input,
    id: Any,
    question: Any,
    answers: Any,
    metadata: Mapping[str, Any] | None = None,
    hint: str = "label it or drop it",
    record: Any = None,
) -> Iterator[Example]:
    """One Example; without an id it gets one from its contents.

    One without a golden answer is left out, since an empty one would be contained in every reply; so are the
    questions of SQuAD 2.0 that have none. `hint` ends the sentence about it.
    """
    values, where = source.values, source.where
    golden = () if source.unlabelled else values.answers(answers)
    question = values.text("question", question)
    if is_blank(question):
        source.leave_out(
            f"{where}: expected a question, found an empty one; fill it in or drop it", record, NO_QUESTION
        )
        return
    if not golden and not source.unlabelled:
        said = f"{where}{f' (id {named([id])})' if id else ''}: expected at least one golden answer, found none; {hint}"
        source.leave_out(said, {"id": id, "question": question} if record is None else record, NO_ANSWER)
        return
    name = content_hash("\n".join((question, *golden)))[:16] if missing(id) or id == "" else values.identifier(id)
    yield Example(name, question, golden, metadata=_metadata(source, metadata or {}))


def named_id(record: Mapping[str, Any]) -> Any:
    """The id of a record that may call it `_id`."""
    return record["_id"] if record.get("_id") is not None else record.get("id")


def _metadata(source: Input, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` as JSON has it; the gold passages by their ids as `passage` reads them."""
    found: dict[str, Any] = source.values.json("metadata", metadata)
    if isinstance(metadata.get("gold"), list):
        found["gold"] = [source.values.identifier(id) for id in metadata["gold"]]
    return found


def need(where: str, record: Any, name: str, kind: type[T]) -> T:
    """record[name], which must be a `kind`; for formats whose field names are fixed."""
    if not isinstance(record, Mapping) or not isinstance(record.get(name), kind):
        found = named(record) if isinstance(record, Mapping) else kind_of(record)
        if isinstance(record, Mapping) and name in record:
            found = f"{name} as {kind_of(record[name])}"
        raise WbragError(f"{where}: expected a field {name!r} ({KINDS[kind]}), found {found}; is it the right format?")
    value: T = record[name]
    return value


def _get(source: Input, record: Mapping[str, Any], columns: Mapping[str, str], field: str, default: Any) -> Any:
    """The value of wbrag's `field`, or `default`; a column named in the map must be there, and may be a path (a.b)."""
    name = columns.get(field, field)
    if name in record:
        value = record[name]
    elif field not in columns:
        return default
    else:
        value = record
        for part in name.split("."):
            value = _part(value, part)
            if value is _ABSENT:
                raise _absent(source, record, field, repr(name))
    return default if value is None and default is not _ABSENT else value


def _part(value: Any, name: str) -> Any:
    """The part of an object, or of every object of a list."""
    if missing(value):
        return None
    if isinstance(value, list):
        parts = [_part(item, name) for item in value]
        return _ABSENT if any(part is _ABSENT for part in parts) else parts
    return value.get(name, _ABSENT) if isinstance(value, dict) else _ABSENT


def _need(source: Input, record: Mapping[str, Any], columns: Mapping[str, str], field: str) -> Any:
    value = _get(source, record, columns, field, _ABSENT)
    if value is _ABSENT:
        raise _absent(source, record, field, repr(field))
    return value


def _absent(source: Input, record: Mapping[str, Any], field: str, wanted: str) -> WbragError:
    found = named(record) or "nothing"
    remedy = f"name it with --columns {field}=<column>"
    if source.table and not source.header:
        remedy += "; if the first line is no header, name all columns with --header id,text"
    return WbragError(f"{source.where}: expected a column {wanted}, found {found}; {remedy}")
