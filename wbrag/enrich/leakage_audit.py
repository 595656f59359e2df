"""Leakage audit: does a unit hold the gold answer although none of its sources does?

It reads texts and changes none; distillation never sees what it compares with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wbrag.core.tasks import Task
from wbrag.core.types import Hit


class Audit(NamedTuple):
    """Where a gold answer stands; both None for a closed set of labels, since a unit may say "true" of anything."""

    answer_in_unit: bool | None
    answer_in_sources: bool | None


def leaks(row: Mapping[str, Any]) -> bool:
    """Whether the answer came into a row's unit from elsewhere: the model's memory, or a label."""
    return bool(row["answer_in_unit"]) and not row["answer_in_sources"]


def audit(task: Task, unit: str, sources: Sequence[Hit], golden_answers: Sequence[str]) -> Audit:
    """Look for any of `golden_answers` in the unit and in its sources, as the metric `acc` does."""
    if task.closed:
        return Audit(None, None)
    in_sources = any(task.contains(f"{hit.title}\n{hit.text}", golden_answers) for hit in sources)
    return Audit(task.contains(unit, golden_answers), in_sources)
