"""Diagnosis of a question set: every question's cause, with shares, intervals and examples to look at.

It reads what an enrichment run found out, and asks what that left open; no unit is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wbrag.core.errors import WbragError
from wbrag.core.metrics import Interval, wilson
from wbrag.core.table import Table
from wbrag.core.types import Example, Passage
from wbrag.enrich.enrich import Verdict
from wbrag.enrich.rows import verdict_of
from wbrag.enrich.usefulness import Usefulness, gold_ids
from wbrag.evaluation.diagnosis.causes import CAUSES, Cause, cause_of, distracting
from wbrag.evaluation.strata import STRATA, touching
from wbrag.executor.runner import Runner

DEPTH = 50  # passages that are looked through
LIMIT = 200  # questions, where nobody says how many
SHOWN = 5  # examples of each cause


@dataclass(frozen=True)
class Case:
    """A question to look at; `passage` holds its answer and stands at `rank` (from 1), where one was found."""

    id: str
    question: str
    golden: tuple[str, ...]
    closed_book: str
    open_book: str
    rank: int | None = None
    passage: tuple[str, str] | None = None  # title, text


@dataclass(frozen=True)
class Part:
    """The questions of one cause."""

    cause: Cause
    count: int
    share: float
    ci95: Interval  # Wilson
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """Where the library fails on `n` questions; `failed` others could not be asked."""

    examples: str
    method: str
    model: str
    encoder: str
    n: int
    failed: int
    top_k: int
    depth: int
    parts: tuple[Part, ...]  # of every cause that a question has, in the order of `CAUSES`
    distracting: tuple[int, int] = (0, 0)  # of documents in the top k whose usefulness is known: harmful ones, all
    touching: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # other split -> stratum -> questions

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.cause.name == name), None)

    def count(self, *, right: bool) -> int:
        return sum(part.count for part in self.parts if part.cause.right is right)

    @property
    def worst(self) -> Part | None:
        """The cause of most wrong answers."""
        return max((p for p in self.parts if not p.cause.right), key=lambda part: part.count, default=None)

    def to_json(self) -> dict[str, Any]:
        plain = asdict(self)
        for part in plain["parts"]:
            part["cause"] = part["cause"]._asdict()
        return plain


def diagnose(runner: Runner, examples: str, *, limit: int | None = LIMIT, method: str = "naive") -> Diagnosis:
    """The diagnosis of NAME/SPLIT against the base library, over `limit` of its questions.

    What enrichment recorded with the same model, corpus and prompts is not asked again, and what is asked here is not
    asked by a later enrichment. Raises `WbragError` where no question could be asked.
    """
    deeper = max(DEPTH, runner.config.enrich.candidate_depth)
    varied = runner.varied(enrich={"lossless_skip": False, "candidate_depth": deeper})
    run = varied.verdicts(examples, method=method, limit=limit, distils=False)
    asked = {example.id: example for example in runner.layout.examples(examples, limit)}
    return diagnosis_of(varied, examples, method, [(asked[row["id"]], row) for row in run.rows])


def diagnosis_of(
    runner: Runner, examples: str, method: str, rows: Sequence[tuple[Example, Mapping[str, Any]]]
) -> Diagnosis:
    """The same of rows at hand, whose settings are the runner's."""
    c = runner.config
    asked = [(example, verdict_of(dict(row))) for example, row in rows if not row["error"]]
    if not asked:
        raise WbragError(
            f"expected answers to the questions of {examples}, found that all {len(rows)} failed: "
            "see the column error of their verdicts"
        )
    gold = {id for example, _ in asked for id in gold_ids(example)}
    corpus = frozenset(runner.layout.passages([*gold, *(f"{id}#0" for id in gold)])) if gold else frozenset()
    sorted_in: dict[str, list[tuple[Example, Verdict, int | None]]] = {name: [] for name in CAUSES}
    for example, verdict in asked:
        name, rank = cause_of(verdict, example, corpus, c.enrich.top_k)
        sorted_in[name].append((example, verdict, rank))
    depth = max(len((v.usefulness or Usefulness()).candidates) for _, v in asked)
    shown = _texts(runner, [found for members in sorted_in.values() for found in members[:SHOWN]])
    harmful = [distracting(verdict, c.enrich.top_k) for _, verdict in asked]
    return Diagnosis(
        examples,
        method,
        c.generator.model,
        c.encoder.model,
        len(asked),
        len(rows) - len(asked),
        c.enrich.top_k,
        depth,
        tuple(
            Part(
                _worded(CAUSES[name], c.enrich.top_k, depth),
                len(members),
                len(members) / len(asked),
                wilson(len(members), len(asked)),
                tuple(_case(*found, shown) for found in members[:SHOWN]),
            )
            for name, members in sorted_in.items()
            if members
        ),
        (sum(bad for bad, _ in harmful), sum(n for _, n in harmful)),
        touching(runner.layout, examples),
    )


def _worded(cause: Cause, top_k: int, depth: int) -> Cause:
    words = {"top_k": top_k, "depth": depth}
    return cause._replace(title=cause.title.format(**words), meaning=cause.meaning.format(**words))


def _texts(runner: Runner, found: Sequence[tuple[Example, Verdict, int | None]]) -> dict[str, Passage]:
    """The passages that hold the answers of these questions."""
    return runner.layout.passages([id for _, verdict, rank in found if (id := _holding(verdict, rank))])


def _holding(verdict: Verdict, rank: int | None) -> str:
    return verdict.usefulness.candidates[rank].id if verdict.usefulness and rank is not None else ""


def _case(example: Example, verdict: Verdict, rank: int | None, texts: Mapping[str, Passage]) -> Case:
    passage = texts.get(_holding(verdict, rank))
    return Case(
        example.id,
        example.question,
        example.golden_answers,
        verdict.closed_book,
        verdict.open_book,
        None if rank is None else rank + 1,
        (passage.title, passage.text) if passage else None,
    )


def tables(found: Diagnosis, page: str) -> list[Table]:
    """For the terminal: a row a cause, and what to do about each."""
    title = f"{found.examples}: {found.count(right=True)} of {found.n} questions are answered with the library"
    rows = [
        [
            "right" if part.cause.right else "WRONG",
            part.cause.title,
            str(part.count),
            f"{100 * part.share:.0f}%",
            f"{100 * part.ci95.low:.0f} to {100 * part.ci95.high:.0f}%",
        ]
        for part in found.parts
    ]
    levers = [[part.cause.title, part.cause.lever.replace("`", "")] for part in found.parts if not part.cause.right]
    shared = [[other, *(str(counts.get(name, 0)) for name in STRATA)] for other, counts in found.touching.items()]
    about = [[found.model, found.encoder, found.method, str(found.failed), page]]
    return [
        (title, ["", "cause", "questions", "share", "95% interval"], rows),
        *([("", ["wrong because", "what helps"], levers)] if levers else []),
        *([("", ["shares with", *STRATA], shared)] if shared else []),
        ("", ["model", "encoder", "method", "failed", "page"], about),
    ]
