"""Values: what a field of a record holds, as text, an id, a number or answers: one strict converter for every format.

What is missing is missing (null, NaN, pandas' NaT), bytes are UTF-8 text, whole floats are integers, dates are ISO
8601. What has no one reading as text, such as an object, is refused by the name of its field: Python's `repr` is
nobody's text.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from wbrag.core.allowed import checked_groups
from wbrag.core.errors import UsageError, WbragError

T = TypeVar("T")
LONGEST = 200  # characters of what is quoted in an error
EXACT = 2**53  # from here on a float is no longer one integer
MOST_LITERAL = 100_000  # characters of a list that is written as Python writes it

_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
# numpy's print of an array, which has no commas, and of an object with one: as pandas writes them to CSV.
_AS_PRINTED = re.compile(
    r"""\[\s*(?:'[^']*'|"[^"]*")\s+['"]|\[\d+(?:\s+\d+)+\]|array\(\[|\{\s*['"]\w+['"]\s*:\s*(?:array\(|\[)"""
)
KINDS: dict[type, str] = {
    type(None): "nothing",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    bytes: "bytes",
    list: "a list",
    tuple: "a list",
    dict: "an object",
}


class Values:
    """The values of one record after the other; `mended` counts the records in which text had to be mended.

    NUL, which no table holds, goes; half a surrogate pair, which no file holds, becomes U+FFFD.
    """

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        self.columns, self.where, self.mended = columns or {}, "", 0
        self._mended_at: str | None = None

    def text(self, field: str, value: Any) -> str:
        """`value` as text: nothing is empty, a list of paragraphs is joined by blank lines."""
        if isinstance(value, list) and value and all(isinstance(part, tuple) for part in value):  # Arrow's map
            value = dict(part for part in value if len(part) == 2)
        if isinstance(value, list | tuple):
            return "\n\n".join(self.text(field, part).strip("\n") for part in value if not missing(part))
        return "" if missing(value) else self._scalar(field, value)

    def identifier(self, value: Any) -> str:
        """`value` as an id, which nothing and blanks are not."""
        if isinstance(value, float) and abs(value) >= EXACT:
            raise self.error("an id as text or integer", f"the float {value!r}, which holds no exact one", "store text")
        if isinstance(value, bool | list | tuple):
            raise self.error("an id", kind_of(value), "name the column with --columns id=<column>")
        found = self.text("id", value)
        if not found.strip():
            raise self.error("an id", "an empty one", "give every record its own")
        return found

    def number(self, field: str, value: Any, default: float) -> float:
        """`value` as a finite number; nothing is `default`."""
        if missing(value) or value == "":
            return default
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not math.isfinite(found):
            raise self.error(f"a number as {field}", repr(str(value)[:LONGEST]), "correct it")
        return found

    def integer(self, field: str, value: Any, default: int) -> int:
        """`value` as a whole number of 32 bits, as tables keep it."""
        found = self.number(field, value, default)
        if found != int(found) or not -(2**31) <= found < 2**31:
            raise self.error(f"{field} as a whole number of 32 bits", str(value)[:LONGEST], "correct it")
        return int(found)

    def answers(self, value: Any) -> tuple[str, ...]:
        """The distinct non-empty answers of a list, of a list in a string, or of one plain value; True -> "True".

        A list in the list (the aliases of each answer) is flattened.
        """
        texts = (text.strip() for text in self._flat(self._listed(value) if isinstance(value, str) else value))
        return tuple(dict.fromkeys(text for text in texts if text))

    def groups(self, value: Any) -> tuple[str, ...]:
        """The groups of an access list, in order: a list, a list in a string, or names between commas; () for none.

        An empty list is refused: nobody knows whether it means everybody or nobody.
        """
        if missing(value) or (isinstance(value, str) and not value.strip()):
            return ()
        if isinstance(value, str):
            listed = parsed(value, list)
            value = value.split(",") if listed is None else listed
        if not isinstance(value, list | tuple | set | frozenset):
            raise self.error("groups as a list or as names between commas", kind_of(value), "correct it")
        names = {self._scalar("groups", name).strip() for name in value}
        if not names:
            raise self.error(
                "names of the groups that may see it", "an empty list", "leave the field out where everybody may"
            )
        try:
            return tuple(sorted(checked_groups(names)))
        except UsageError as error:
            raise WbragError(f"{self.where}: {error}") from None

    def label(self, field: str, value: Any) -> Any:
        """`value` as metadata: a text, a number, true or false, or a list of these; None for nothing."""
        if isinstance(value, list | tuple | set | frozenset):
            return [one for part in value if (one := self.label(field, part)) is not None] or None
        if missing(value) or value == "":
            return None
        if isinstance(value, bool | int | float):
            return value if not isinstance(value, float) or math.isfinite(value) else None
        if isinstance(value, Decimal) and value.is_finite():
            return int(value) if value == int(value) else float(value)
        if isinstance(value, Mapping):
            part = f"{field}.{next(iter(value), 'name')}"
            raise self.error(
                f"a text, a number or a list of them as {field}", kind_of(value), f"name a part: --metadata {part}"
            )
        return self._scalar(field, value)

    def json(self, field: str, value: Any) -> Any:
        """`value` with nothing in it that JSON has no word for."""
        if isinstance(value, Mapping):
            return {self.text(field, name): self.json(field, part) for name, part in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.json(field, part) for part in value]
        if missing(value) or (isinstance(value, float) and not math.isfinite(value)):
            return None
        if isinstance(value, bytes | bytearray | memoryview):
            return self._mend(bytes(value).decode("utf-8", "replace"))
        return value if isinstance(value, bool | int | float) else self._scalar(field, value)

    def error(self, expected: str, found: str, remedy: str) -> WbragError:
        return WbragError(f"{self.where}: expected {expected}, found {found}; {remedy}")

    def _flat(self, value: Any) -> Iterator[str]:
        if isinstance(value, list | tuple | set | frozenset):
            for part in value:
                yield from self._flat(part)
        elif isinstance(value, Mapping):
            column = self.columns.get("golden_answers", "golden_answers")
            remedy = (
                f"name the part that holds them, as in --columns golden_answers={column}.{next(iter(value), 'text')}"
            )
            raise self.error("golden answers as a list or text", kind_of(value), remedy)
        elif not missing(value):
            yield self._scalar("golden_answers", value)

    def _listed(self, text: str) -> Any:
        """The list that `text` writes out, as JSON or as Python does; any other text as it is."""
        if (found := parsed(text, list)) is not None:
            return found
        text = text.strip()
        if _AS_PRINTED.match(text):
            shown = f"an array or an object as Python prints it ({' '.join(text.split())[:60]})"
            raise self.error("golden answers as a JSON list", shown, "write the column as JSON")
        if text[:1] != "[" or len(text) > MOST_LITERAL:
            return text
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = ast.literal_eval(text)  # literals alone: nothing is run
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return text
        return found if isinstance(found, list) else text

    def _scalar(self, field: str, value: Any) -> str:
        if isinstance(value, str):
            return self._mend(value)
        if isinstance(value, bytes | bytearray | memoryview):
            try:
                return self._mend(bytes(value).decode("utf-8"))
            except UnicodeDecodeError as error:
                raise self.error(f"UTF-8 in the field {field!r}", f"bytes ({error.reason})", "convert them") from None
        if isinstance(value, bool | int | UUID):
            return str(value)
        if isinstance(value, float | Decimal) and math.isfinite(value):
            return str(int(value)) if value == int(value) and abs(int(value)) < EXACT else str(value)
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        remedy = "correct it"
        if isinstance(value, Mapping):
            part = f"{self.columns.get(field, field)}.{next(iter(value), 'body')}"
            remedy = f"name the part that holds it, as in --columns {field}={part}"
        raise self.error(f"text in the field {field!r}", kind_of(value), remedy)

    def _mend(self, text: str) -> str:
        if text.isascii() and "\0" not in text:
            return text
        found = text.replace("\0", "")
        if _HALF_PAIR.search(found):
            found = found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if found != text and self._mended_at != self.where:
            self.mended, self._mended_at = self.mended + 1, self.where
        return found


def missing(value: Any) -> bool:
    """Whether `value` is nothing: null, or what a table has in place of it."""
    if value is None or (isinstance(value, float | Decimal) and value != value):
        return True
    return type(value).__name__ in ("NaTType", "NAType")  # pandas', which wbrag does not import


def parsed(text: str, kind: type[T]) -> T | None:
    """The JSON value of that kind that `text` holds, if it does."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, kind) else None


def named(record: Iterable[Any]) -> str:
    """A record's names for a sentence: on one line, and not all of thousands."""
    text = ", ".join(" ".join(str(name).split()) for name in record).encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def kind_of(value: Any) -> str:
    """What kind of thing `value` is, for a sentence."""
    if isinstance(value, Mapping):
        return f"an object with {named(value) or 'no parts'}"
    if isinstance(value, float) and not math.isfinite(value):
        return "an infinite number"
    return next((name for kind, name in KINDS.items() if isinstance(value, kind)), type(value).__name__)
