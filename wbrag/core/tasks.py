"""Tasks of question sets: a prompt pair (with documents, closed book), a metric, and how an answer is parsed.

The two prompts of a task differ only in the document block and the words about evidence (paper, appendix G).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from wbrag.core.citations import order, read_prose
from wbrag.core.defuse import apart
from wbrag.core.errors import unknown
from wbrag.core.metrics import METRICS, acc
from wbrag.core.normalise import FLASHRAG, NORMALISATIONS, Normalisation
from wbrag.core.prompts import render
from wbrag.core.reading import read_answer
from wbrag.core.types import Hit, Message, Passage


@dataclass(frozen=True)
class Task:
    name: str
    metric: str  # as in the paper's Table 1
    labels: Mapping[str, str] = field(default_factory=dict)  # of a closed set: what is read as each of them
    by: Normalisation = FLASHRAG  # the form in which answers are compared
    prose: bool = False  # an answer is as long as it needs, and cites documents by their numbers

    @property
    def closed(self) -> bool:
        """Whether the answer is one of a fixed set of labels."""
        return bool(self.labels)

    def messages(
        self, question: str, documents: Sequence[Hit | Passage], prompts_dir: str | None = None
    ) -> list[Message]:
        """The prompt with `documents`, or the closed-book prompt where there are none."""
        if not documents:
            return render(f"{self.name}.closed", prompts_dir, question=question)
        return render(f"{self.name}.rag", prompts_dir, question=question, documents=reference(documents))

    def read(self, reply: str, documents: int) -> str:
        """The answer in what a model wrote over so many documents."""
        return read_prose(reply, documents) if self.prose else read_answer(reply)

    def ranked(self, reply: str, hits: Sequence[Hit]) -> tuple[Hit, ...]:
        """The documents as the answer numbers them: of prose those that it cites come first."""
        return tuple(hits[n - 1] for n in order(reply, len(hits))) if self.prose else tuple(hits)

    def score(self, prediction: str, golden_answers: Sequence[str], metric: str = "task") -> float:
        """The metric's score in [0, 1]. Of a closed set the labels that both sides name are compared."""
        said, gold = self.label(prediction), [self.label(answer) for answer in golden_answers]
        if all(gold) and (said or self._named(prediction)):  # one that denies a label is not that label
            prediction, golden_answers = said, gold
        return METRICS[self.metric if metric == "task" else metric](prediction, golden_answers, self.by)

    def contains(self, text: str, golden_answers: Sequence[str]) -> bool:
        """Whether one of the golden answers stands in `text`, as the metric `acc` looks for it."""
        return acc(text, golden_answers, self.by) > 0

    def label(self, answer: str) -> str:
        """The label that an answer names first, not denied; empty where it names none, or the set is open."""
        answer = _CHOICE.sub(" ", answer)
        named = [name for at, name in self._named(answer) if not _DENIED.search(answer[:at])]
        return named[0] if named else ""

    def _named(self, answer: str) -> list[tuple[int, str]]:
        """Where an answer names which label, denied or not."""
        each = self.labels.items()
        return sorted((match.start(), name) for name, words in each for match in _word(words).finditer(answer))


def reference(documents: Sequence[Hit | Passage]) -> str:
    """FlashRAG's document block: one line a document, `Doc i(Title: t) text`; no document can end its line."""
    return "\n".join(f"Doc {i}(Title: {as_data(d.title)}) {as_data(d.text)}" for i, d in enumerate(documents, 1))


# What would end a line, a document or a turn: line breaks, another document's head, the marks of chat templates.
# A run of white space at once, and a look inside it: one pattern for a run with a break is quadratic in spaces.
_WHITE = re.compile(r"\s+")
_LINE_BREAK = re.compile(r"[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
# In full-width letters too, and with characters of no width between: a tokenizer may read them as the plain ones.
_NO_WIDTH = "\u00ad\u200b-\u200f\u2060\ufeff"
_GAP = rf"[\s{_NO_WIDTH}]*+"
_DOC, _TITLE = (rf"[{_NO_WIDTH}]*+".join(f"[{c}{chr(ord(c) + 0xFEE0)}]" for c in word) for word in ("doc", "title"))
_DOCUMENT_HEAD = re.compile(rf"({_DOC}{_GAP}\d++{_GAP})[(（](?={_GAP}{_TITLE}{_GAP}[:：])", re.IGNORECASE)

_HALF_TOKEN = re.compile(r"(?<=[<\[])(?=[|｜])|(?<=[|｜])(?=[>\]])")  # which another document might complete


def as_data(text: str) -> str:
    """`text` with nothing in it that a prompt's structure is made of; ordinary text comes back as it is.

    Line breaks become spaces, `Doc 2(Title:` becomes `Doc 2[Title:`, and `<|im_end|>`, `[INST]`, `</s>` get a space
    inside, so that no tokenizer reads them as control tokens.
    """
    one_line = _WHITE.sub(lambda run: " " if _LINE_BREAK.search(run[0]) else run[0], text)
    return apart(_HALF_TOKEN.sub(" ", _DOCUMENT_HEAD.sub(r"\1[", one_line)))


BOOLQ = {"True": "true|yes|correct", "False": "false|incorrect|untrue|(?:not|cannot be|never) (?:true|correct)|^no"}
FEVER = {
    "SUPPORTS": "supports?|supported|true",
    "REFUTES": "refutes?|refuted|false|contradicts?|contradicted",
    "NOT ENOUGH INFO": "not enough (?:info(?:rmation)?|evidence)|not supported|insufficient|nei",
}
_DENIED = re.compile(r"(?:\b(?:not|cannot|never|neither|nor|without)|n't)(?:\s+\S+){0,2}\s*$", re.IGNORECASE)
_CHOICE = re.compile(r"\b(?:true or false|yes or no|supported or refuted)\b", re.IGNORECASE)  # the question said again


@cache
def _word(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


TASKS = {
    task.name: task
    for task in (
        Task("nq", "acc"),
        Task("boolq", "acc", BOOLQ),
        Task("fever", "f1", FEVER),
        Task("zsre", "acc"),
        Task("hotpotqa", "acc"),
        Task("squad", "em"),
        Task("qa", "acc"),
        Task("chat", "acc", prose=True),
    )
}


def task(name: str) -> Task:
    """The task called `name`, or `name/unicode` where answers are compared in that form; another name is refused."""
    known, slash, by = name.partition("/")
    if known not in TASKS:
        raise unknown("task", name, list(TASKS))
    if not slash:
        return TASKS[known]
    if by not in NORMALISATIONS:
        raise unknown("normalisation", by, list(NORMALISATIONS))
    return replace(TASKS[known], by=NORMALISATIONS[by])
