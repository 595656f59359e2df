"""Usage log: append-only, one row per served answer and one per rating.

Of several ratings of one answer the last counts, by number and not by clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import Location

_text = pa.string()
USAGE = pa.schema(
    [
        ("request_id", _text),
        ("at", _text),
        ("by", _text),
        ("release", _text),
        ("method", _text),
        ("task", _text),
        ("question", _text),
        ("answer", _text),
        ("hit_ids", pa.list_(_text)),
        ("hit_origins", pa.list_(_text)),
        ("hit_scores", pa.list_(pa.float64())),
        ("seconds", pa.float64()),
    ]
)
FEEDBACK = pa.schema(
    [
        ("number", pa.int64()),
        ("request_id", _text),
        ("at", _text),
        ("by", _text),
        ("rating", pa.int8()),
        ("comment", _text),
    ]
)


@dataclass(frozen=True)
class Served:
    """One served answer. `question` and `answer` are empty where the operator does not record them."""

    request_id: str
    at: str  # UTC, ISO 8601
    by: str  # name of the key, "" on an open loopback
    release: str
    method: str
    task: str
    question: str
    answer: str
    hit_ids: tuple[str, ...]
    hit_origins: tuple[str, ...]
    hit_scores: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Feedback:
    """A user's word on a served answer: `rating` is 1 or -1."""

    request_id: str
    at: str
    by: str
    rating: int
    comment: str = ""


class Usage:
    """The usage and feedback tables below `folder`; written in batches, only ever appended."""

    def __init__(self, folder: Location) -> None:
        self.answers = AppendLog(folder / "usage", USAGE)
        self.feedback = AppendLog(folder / "feedback", FEEDBACK)

    def add(self, served: Iterable[Served] = (), feedback: Iterable[Feedback] = ()) -> None:
        """Append both kinds, a commit each. Feedback is numbered: a clock that was set back must not undo a word."""
        self.answers.append(asdict(row) for row in served)
        if rated := list(feedback):
            number = self.feedback.version + 1
            self.feedback.append({"number": number, **asdict(row)} for row in rated)

    def served(self) -> list[Served]:
        """Every served answer, oldest first."""
        tuples = ({k: tuple(v) if isinstance(v, list) else v for k, v in row.items()} for row in self.answers.rows())
        rows: list[Served] = [Served(**dict[str, Any](row)) for row in tuples]
        return sorted(rows, key=lambda s: (s.at, s.request_id))

    def ratings(self) -> dict[str, Feedback]:
        """The last word on each request."""
        rows = sorted(self.feedback.rows(), key=lambda row: (row.pop("number") or 0, row["at"]))
        return {row["request_id"]: Feedback(**row) for row in rows}
