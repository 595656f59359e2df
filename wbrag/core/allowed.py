"""Allowed: what of the library one request may be shown, by access lists and by the request's own filter.

An access list is text: `hr|legal` for members of either group, `hr|legal&board` for those who are in `board` as well,
"" for everybody. So a passage's groups are one clause, and whoever may see a unit may see all of its sources.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from wbrag.core.errors import UsageError

GROUP = re.compile(r"[^\W_][\w.@:/ -]{0,63}")
NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")  # a text that is read as a number where one is asked for
NOBODY = "!"  # no group has this name: a unit of a source that is gone
MOST_FIELDS, MOST_VALUES, LONGEST = 16, 256, 1024
BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


class Allowed(NamedTuple):
    """`groups`: of whoever asks, None for one who sees all; `filter`: as `checked_filter` gives it, "" for none."""

    groups: frozenset[str] | None = None
    filter: str = ""

    @property
    def everything(self) -> bool:
        return self.groups is None and not self.filter

    def may(self, access: str) -> bool:
        """Whether a passage or a unit with this access list may be shown."""
        if self.groups is None or not access:
            return True
        return all(not self.groups.isdisjoint(clause.split("|")) for clause in access.split("&"))

    def tests(self) -> dict[str, Callable[[str], bool]]:
        """By field of the metadata, whether a value, as JSON, passes."""
        wanted: dict[str, Any] = json.loads(self.filter or "{}")
        return {field: _test(condition) for field, condition in wanted.items()}


EVERYTHING = Allowed()


def access_of(groups: Collection[str]) -> str:
    """The access list of a passage that is for members of any of these `groups`; everybody where there are none."""
    return "|".join(sorted(set(groups)))


def strictest(access: Iterable[str]) -> str:
    """The access list of what was made of parts with these: whoever may see it may see every part."""
    return "&".join(sorted({clause for one in access if one for clause in one.split("&")}))


def shared(metadata: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The entries that all parts have alike."""
    common: dict[str, str] | None = None
    for one in metadata:
        common = dict(one) if common is None else {k: v for k, v in common.items() if one.get(k) == v}
    return common or {}


def checked_groups(groups: Iterable[str]) -> frozenset[str]:
    """`groups` as names that an access list can hold; raises `UsageError` for any other."""
    found = frozenset(groups)
    for name in sorted(found):
        if not GROUP.fullmatch(name):
            raise UsageError(
                f"expected names of groups of at most 64 letters, digits, spaces and . _ @ : / -, found {name!r}: "
                "rename it"
            )
    return found


def checked_filter(given: Any) -> str:
    """A filter in its one form; raises `UsageError` with what is wrong with it.

    `{"lang": "de", "dept": ["hr", "legal"], "year": {"gte": 2019, "lt": 2024}}`: each field is equal to a value, to one
    of several, or within bounds (of numbers, or of texts, such as ISO dates). A passage without the field does not
    pass; of a field that is a list, one element must.
    """
    if given is None:
        return ""
    if not isinstance(given, Mapping) or len(given) > MOST_FIELDS:
        raise UsageError(f'expected an object of at most {MOST_FIELDS} fields, as {{"lang": "de"}}: correct it')
    for field, condition in given.items():
        _check_field(field, condition)
    return json.dumps(given, sort_keys=True, ensure_ascii=False) if given else ""


def _check_field(field: Any, condition: Any) -> None:
    if not isinstance(field, str) or not 0 < len(field) <= 128:
        raise UsageError("expected names of fields of 1 to 128 characters: correct it")
    if isinstance(condition, Mapping):
        good = bool(condition) and condition.keys() <= BOUNDS.keys()
        good = good and all(_scalar(value) and not isinstance(value, bool) for value in condition.values())
        if not good or len({isinstance(value, str) for value in condition.values()}) > 1:
            names = ", ".join(BOUNDS)
            raise UsageError(f"{field}: expected bounds named {names}, all numbers or all texts: correct it")
    elif isinstance(condition, list):
        if not 0 < len(condition) <= MOST_VALUES or not all(map(_scalar, condition)):
            raise UsageError(f"{field}: expected 1 to {MOST_VALUES} texts, numbers, true or false: correct it")
    elif not _scalar(condition):
        raise UsageError(f"{field}: expected a text, a number, true or false, a list of them, or bounds: correct it")


def _scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= LONGEST)


def equals(condition: Any) -> list[Any]:
    """The values that pass where one of these is wanted: a number in text too, since tables of text have no other."""
    wanted = condition if isinstance(condition, list) else [condition]
    texts = [str(one) for one in wanted if isinstance(one, int | float) and not isinstance(one, bool)]
    return [*wanted, *(text for text in texts if text not in wanted)]


def _test(condition: Any) -> Callable[[str], bool]:
    if isinstance(condition, Mapping):
        return lambda text: any(_within(value, condition) for value in _values(text))
    wanted = equals(condition)
    return lambda text: any(_equal(value, one) for value in _values(text) for one in wanted)


def _values(text: str) -> list[Any]:
    value = json.loads(text)
    return value if isinstance(value, list) else [value]


def _equal(value: Any, wanted: Any) -> bool:
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def _within(value: Any, bounds: Mapping[str, Any]) -> bool:
    texts = isinstance(next(iter(bounds.values())), str)
    if not texts and isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or isinstance(value, str) != texts or not isinstance(value, str | int | float):
        return False
    return all(BOUNDS[name](value, bound) for name, bound in bounds.items())
