"""The leakage audit: a unit that holds the gold answer although none of its sources does."""

from __future__ import annotations

from collections.abc import Sequence

from wbrag.metrics import acc
from wbrag.tasks import Task
from wbrag.types import Hit


def leaks(task: Task, unit: str, sources: Sequence[Hit], golden_answers: Sequence[str]) -> bool:
    """Whether the answer came into `unit` from elsewhere: the model's memory, or a label. Labels of a closed set are
    no answers in this sense: a unit may say "true" of anything."""
    if task.closed or not acc(unit, golden_answers):
        return False
    return not any(acc(f"{hit.title}\n{hit.text}", golden_answers) for hit in sources)
