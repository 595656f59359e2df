"""The question sets' tasks: a prompt pair (with and without documents), a metric, and how an answer is read.

The two prompts of a task differ only in the document block and the words about evidence (paper, appendix G).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wbrag.errors import unknown
from wbrag.metrics import METRICS
from wbrag.prompts import render
from wbrag.types import Hit, Message, Passage


@dataclass(frozen=True)
class Task:
    name: str
    metric: str  # as in the paper's Table 1
    closed: bool = False  # the answer is one of a fixed set of labels

    def messages(
        self, question: str, documents: Sequence[Hit | Passage], prompts_dir: str | None = None
    ) -> list[Message]:
        """The prompt with `documents`, or the closed-book prompt where there are none."""
        if not documents:
            return render(f"{self.name}.closed", prompts_dir, question=question)
        return render(f"{self.name}.rag", prompts_dir, question=question, documents=reference(documents))

    def score(self, prediction: str, golden_answers: Sequence[str], metric: str = "task") -> float:
        return METRICS[self.metric if metric == "task" else metric](prediction, golden_answers)


def reference(documents: Sequence[Hit | Passage]) -> str:
    """FlashRAG's document block: one line a document, `Doc i(Title: t) text`."""
    return "\n".join(f"Doc {i}(Title: {d.title}) {d.text}" for i, d in enumerate(documents, 1))


def read_answer(text: str) -> str:
    """The first line of what the model wrote."""
    return text.strip().split("\n", 1)[0].strip()


TASKS = {
    task.name: task
    for task in (
        Task("nq", "acc"),
        Task("boolq", "acc", closed=True),
        Task("fever", "f1", closed=True),
        Task("zsre", "acc"),
        Task("hotpotqa", "acc"),
        Task("squad", "em"),
        Task("qa", "acc"),
    )
}


def task(name: str) -> Task:
    """The task called `name`; an unknown one is answered with the list of the known."""
    if name not in TASKS:
        raise unknown("task", name, list(TASKS))
    return TASKS[name]
