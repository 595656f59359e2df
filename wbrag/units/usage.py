"""Usage log: append-only, one row per served answer and one per rating.

Of several ratings of one answer the last counts, by number and not by clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated

from wbrag.core.io.append_log import MANY_FILES, AppendLog
from wbrag.core.io.files import Location


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

    number: int = field(default=0, kw_only=True, compare=False)  # the order of writing, whatever the clock said
    request_id: str
    at: str
    by: str
    rating: Annotated[int, "int8"]
    comment: str = ""


class Usage:
    """The usage and feedback tables below `folder`; written in batches, only ever appended."""

    def __init__(self, folder: Location) -> None:
        self.answers = AppendLog(folder / "usage", Served)
        self.feedback = AppendLog(folder / "feedback", Feedback)

    def add(self, served: Iterable[Served] = (), feedback: Iterable[Feedback] = ()) -> None:
        """Append both kinds, a commit each. Feedback is numbered: a clock that was set back must not undo a word."""
        self.answers.append(served)
        if rated := list(feedback):
            number = self.feedback.next_number()
            self.feedback.append(replace(row, number=number) for row in rated)

    def tidy(self, files: int = MANY_FILES) -> None:
        """Few files instead of thousands: a gateway appends every few seconds."""
        self.answers.tidy(files)
        self.feedback.tidy(files)

    def served(self) -> list[Served]:
        """Every served answer, oldest first."""
        return sorted(self.answers.rows(), key=lambda s: (s.at, s.request_id))

    def ratings(self) -> dict[str, Feedback]:
        """The last word on each request."""
        rows = sorted(self.feedback.rows(), key=lambda row: (row.number, row.at))
        return {row.request_id: row for row in rows}
