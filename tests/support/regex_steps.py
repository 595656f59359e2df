"""How many steps a backtracking matcher takes, counted and not timed.

What grows faster than its text is a way to freeze whoever matches it.

`steps` walks the parse tree of Python's own `re` in the order that `re` does; it lacks its shortcuts, so that it never
counts fewer. `pumped` makes texts from a pattern that it may be slow on: what stands before each repetition, the
repeated part many times over, and an end that fails.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

CAP = 6  # a bounded repetition stands for itself with at most so many rounds: linear all the same
FEW = 3  # rounds of a bounded repetition in a text
Node = tuple[Any, Any]
Then = Callable[[int], bool]
REPEATS = (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT)
SINGLE = (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN)
PUMPS = (
    " ",
    "\n",
    "a",
    "A",
    "0",
    "a ",
    "A. ",
    "0,",
    "(",
    "[",
    "<",
    '"',
    "'",
    "http://a?",
    "&",
    "{",
    "\u3000",
    "-",
    "-a",
)


def steps(pattern: re.Pattern[str], text: str) -> int:
    """Of finding every match of `pattern` in `text`."""
    return _Matcher(pattern, text).all()


def pumped(pattern: re.Pattern[str], length: int) -> Iterator[str]:
    """Texts of about `length` characters that `pattern` may take long for."""
    tree = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    pairs = {("", pump) for pump in PUMPS}
    for before, body in _repeated(list(tree), ""):
        for pump in _samples(body):
            pairs |= {(before, pump), ("", before + pump)}
    for before, pump in sorted(pairs):
        if pump:
            for end in ("", "\x01", "!"):
                yield before + pump * (max(1, length - len(before)) // len(pump) + 1) + end


class _Matcher:
    """A continuation-passing matcher of one pattern over one text."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self.text, self.count, self.flags = text, 0, pattern.flags
        self.tree = list(_parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
        self.groups: dict[int, tuple[int, int]] = {}

    def all(self) -> int:
        limit, start = sys.getrecursionlimit(), 0
        sys.setrecursionlimit(200_000)
        try:
            while start <= len(self.text):
                end = self._end(self.tree, start)
                start = start + 1 if end is None else max(end, start + 1)
        finally:
            sys.setrecursionlimit(limit)
        return self.count

    def _seq(self, nodes: Sequence[Node], i: int, at: int, then: Then) -> bool:
        if i == len(nodes):
            return then(at)
        return self._node(nodes[i], at, lambda end: self._seq(nodes, i + 1, end, then))

    def _node(self, node: Node, at: int, then: Then) -> bool:
        self.count += 1
        kind, value = node
        if kind in SINGLE:
            return self._one(node, at) and then(at + 1)
        if kind is c.SUBPATTERN:
            group, _, _, body = value

            def closed(end: int) -> bool:
                if group is not None:
                    self.groups[group] = (at, end)
                return then(end)

            return self._seq(list(body), 0, at, closed)
        if kind is c.BRANCH:
            return any(self._seq(list(body), 0, at, then) for body in value[1])
        if kind in REPEATS:
            return self._repeat(kind, value, at, then)
        if kind is c.ATOMIC_GROUP:
            end = self._end(list(value), at)
            return end is not None and then(end)
        if kind in (c.ASSERT, c.ASSERT_NOT):
            return (self._holds(value, at) == (kind is c.ASSERT)) and then(at)
        if kind is c.AT:
            return self._at(value, at) and then(at)
        assert kind is c.GROUPREF, kind
        start, end = self.groups.get(value, (0, 0))
        same = self.text.startswith(self.text[start:end], at)
        return same and then(at + end - start)

    def _end(self, nodes: Sequence[Node], at: int) -> int | None:
        ended: list[int] = []
        return ended[0] if self._seq(nodes, 0, at, lambda end: ended.append(end) is None) else None

    def _holds(self, value: Any, at: int) -> bool:
        way, body = value
        if way > 0:
            return self._end(list(body), at) is not None
        width = body.getwidth()[0]  # what looks behind has one width
        return at >= width and self._end(list(body), at - width) == at

    def _repeat(self, kind: Any, value: Any, at: int, then: Then) -> bool:
        least, most, body = value
        body = list(body)
        most = len(self.text) + 1 if most is c.MAXREPEAT else max(least, min(most, CAP))
        if len(body) == 1 and body[0][0] in SINGLE:
            return self._run(kind, least, most, body[0], at, then)

        def greedy(round: int, at: int) -> bool:
            def more(end: int) -> bool:
                return end > at and greedy(round + 1, end)

            if round < least:
                return self._seq(body, 0, at, lambda end: greedy(round + 1, end))
            if kind is c.MIN_REPEAT:
                return then(at) or (round < most and self._seq(body, 0, at, more))
            return (round < most and self._seq(body, 0, at, more)) or then(at)

        if kind is not c.POSSESSIVE_REPEAT:
            return greedy(0, at)
        round = 0
        while round < most and (end := self._end(body, at)) is not None and (end > at or round < least):
            at, round = end, round + 1
        return round >= least and then(at)

    def _run(self, kind: Any, least: int, most: int, one: Node, at: int, then: Then) -> bool:
        end = at
        while end - at < (least if kind is c.MIN_REPEAT else most):
            self.count += 1
            if not self._one(one, end):
                break
            end += 1
        if end - at < least:
            return False
        if kind is c.POSSESSIVE_REPEAT:
            return then(end)
        if kind is c.MAX_REPEAT:
            return any(then(stop) for stop in range(end, at + least - 1, -1))
        while not then(end):
            self.count += 1
            if end - at >= most or not self._one(one, end):
                return False
            end += 1
        return True

    def _one(self, node: Node, at: int) -> bool:
        if at >= len(self.text):
            return False
        return _matches(node, self.text[at], self.flags)

    def _at(self, where: Any, at: int) -> bool:
        word = [0 <= i < len(self.text) and bool(re.match(r"\w", self.text[i])) for i in (at - 1, at)]
        match where:
            case c.AT_BEGINNING:
                lines = bool(self.flags & re.MULTILINE)
                return at == 0 or (lines and self.text[at - 1] == "\n")
            case c.AT_BEGINNING_STRING:
                return at == 0
            case c.AT_END:
                last = at == len(self.text) or (at == len(self.text) - 1 and self.text[at] == "\n")
                return last or (bool(self.flags & re.MULTILINE) and self.text[at] == "\n")
            case c.AT_END_STRING:
                return at == len(self.text)
            case c.AT_BOUNDARY:
                return word[0] != word[1]
        assert where is c.AT_NON_BOUNDARY, where
        return word[0] == word[1]


_KNOWN: dict[tuple[str, int], dict[str, bool]] = {}


def _matches(node: Node, char: str, flags: int) -> bool:
    """Whether one character is matched, as `re` itself says."""
    kind, value = node
    if kind is c.LITERAL and chr(value) == char:
        return True
    if kind is c.ANY:
        return char != "\n" or bool(flags & re.DOTALL)
    known = _KNOWN.setdefault((repr(node), flags & re.IGNORECASE), {})
    if char not in known:
        known[char] = re.match(_source(node), char, flags & re.IGNORECASE) is not None
    return known[char]


def _source(node: Node) -> str:
    """A pattern of one character again, from its node."""
    kind, value = node
    if kind in (c.LITERAL, c.NOT_LITERAL):
        return f"[{'^' if kind is c.NOT_LITERAL else ''}{_escaped(value)}]"
    parts = []
    for sort, item in value:
        if sort is c.LITERAL:
            parts.append(_escaped(item))
        elif sort is c.RANGE:
            parts.append(f"{_escaped(item[0])}-{_escaped(item[1])}")
        elif sort is c.CATEGORY:
            parts.append(_CATEGORIES[item])
    return f"[{'^' if value[0][0] is c.NEGATE else ''}{''.join(parts)}]"


def _escaped(code: int) -> str:
    return f"\\U{code:08x}"


_CATEGORIES = {
    c.CATEGORY_SPACE: r"\s",
    c.CATEGORY_NOT_SPACE: r"\S",
    c.CATEGORY_WORD: r"\w",
    c.CATEGORY_NOT_WORD: r"\W",
    c.CATEGORY_DIGIT: r"\d",
    c.CATEGORY_NOT_DIGIT: r"\D",
}


# -- texts ------------------------------------------------------------------------------------------------------------

CHARACTERS = " a0A.\n-,'\"([<_é!|/?&=:;@#$%{}x\u3000\u200b\x07"


def _repeated(nodes: Sequence[Node], before: str) -> Iterator[tuple[str, list[Node]]]:
    """A text that leads to each repetition, and what it repeats."""
    for node in nodes:
        kind, value = node
        if kind in REPEATS:
            yield before, list(value[2])
        for body in _bodies(node):
            yield from _repeated(body, before)
        before += next(iter(_samples([node])), "")


def _bodies(node: Node) -> list[list[Node]]:
    kind, value = node
    if kind in REPEATS:
        return [list(value[2])]
    if kind is c.SUBPATTERN:
        return [list(value[3])]
    if kind is c.BRANCH:
        return [list(body) for body in value[1]]
    if kind in (c.ASSERT, c.ASSERT_NOT):
        return [list(value[1])]
    return [list(value)] if kind is c.ATOMIC_GROUP else []


def _samples(nodes: Sequence[Node]) -> list[str]:
    """A few texts that `nodes` match one after the other, the shortest forms."""
    found = [""]
    for node in nodes:
        kind, value = node
        if kind in SINGLE:
            own = [char for char in CHARACTERS if _matches(node, char, 0)][:3] or _first(node)
        elif kind in REPEATS:
            least = max(1, min(value[0], FEW)) if value[0] <= FEW else value[0]
            own = [part * least for part in _samples(list(value[2]))[:2]]
        elif kind in (c.ASSERT, c.ASSERT_NOT, c.AT, c.GROUPREF):
            own = [""]
        else:
            own = [text for body in _bodies(node) for text in _samples(body)[:1]][:3]
        found = [text + part for text in found[:3] for part in own or [""]]
    return found[:4]


def _first(node: Node) -> list[str]:
    kind, value = node
    if kind is c.LITERAL:
        return [chr(value)]
    for sort, item in value if kind is c.IN else ():
        if sort is c.LITERAL:
            return [chr(item)]
        if sort is c.RANGE:
            return [chr(item[0])]
    return []
