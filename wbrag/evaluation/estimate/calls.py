"""Call estimate: generator calls and tokens of an enrichment, by the paper's cost formula in full.

It needs only shares and mean words of the question set; prompts are counted with wbrag's own templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wbrag.core.prompts import render
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import reference, task
from wbrag.core.types import Hit
from wbrag.enrich.rows import Row

ONE = Hit("", "title", "", 0.0)  # a document of one word


@dataclass(frozen=True)
class Words:
    """Mean words of a passage with its title, a question, an answer, an example's evidence, and a unit."""

    passage: float
    question: float
    answer: float
    evidence: float
    unit: float


@dataclass(frozen=True)
class Shares:
    """`closed_book` and `accepted` of all examples, `reread` of the accepted; `retained` documents of an accepted one.

    `reread`: they keep more than one document but not all, so that the round trip reads these together once more.
    `witnesses` are the calls that an accepted example's cost, at most as many as the settings allow.
    """

    closed_book: float
    accepted: float
    retained: float
    reread: float
    witnesses: float


@dataclass(frozen=True)
class Stage:
    """Calls of one kind, and the words of one call."""

    calls: float
    prompt_words: float
    reply_words: float


def shares_of(rows: Sequence[Row], top_k: int) -> Shares:
    """As they were in a finished run's verdicts."""
    accepted = [row for row in rows if row["accepted"]]
    kept = [len(row["retained"]) for row in accepted]
    count, some = max(1, len(rows)), max(1, len(accepted))
    return Shares(
        sum(row["reason"] == "closed book suffices" for row in rows) / count,
        len(accepted) / count,
        sum(kept) / some,
        sum(n not in (1, top_k) for n in kept) / some,
        sum(row.get("witness_calls") or 0 for row in accepted) / some,
    )


def words_of(rows: Sequence[Row], passage: float) -> Words:
    """As they were in a finished run's verdicts; `passage` words in the mean passage."""
    accepted = [row for row in rows if row["accepted"]]
    return Words(
        passage,
        _mean([_words(row["question"]) for row in rows]),
        _mean([_words(row["closed_book"] or "") for row in rows]),
        _mean([sum(_words(e["sentence"]) for e in row["evidence"]) for row in accepted]),
        _mean([row["unit_words"] for row in accepted]),
    )


def stages(examples: int, shares: Shares, words: Words, settings: EnrichConfig, name: str = "qa") -> dict[str, Stage]:
    """Every kind of call of naive RAG's Algorithm 1 over `examples`, with the prompts of the task `name`.

    With the lossless skip, examples that the closed book answers cost no second call. Usefulness is asked of every
    example, and once without documents. Prompts are counted with wbrag's own templates.
    """
    k, trip = settings.top_k, float(settings.round_trip)
    accepted = shares.accepted * examples
    everything = settings.record == "all" or not settings.lossless_skip
    opened = examples if everything else (1 - shares.closed_book) * examples
    scored = examples if settings.record == "all" else accepted
    distilled = accepted if settings.distiller == "llm" else 0.0
    w, asked = words, _template(name, 0) + words.question
    head = _words(reference([ONE])) - 1  # `Doc 1(Title: )`

    def reading(documents: float, each: float = w.passage) -> float:
        return asked + _block(name) + documents * (head + each)

    evidence = (
        _rendered("evidence", documents="", max_sentences="8") + w.question + shares.retained * (head + w.passage)
    )
    rewrite = _rendered("rewrite", evidence="") + w.question + w.evidence
    lines = 2 * min(settings.max_sentences, shares.retained)  # `[Doc 1]` before every sentence
    found = {
        "closed book": Stage(examples, asked, w.answer),
        "open book": Stage(opened, reading(k), w.answer),
        "one document": Stage(scored * k, reading(1), w.answer),
        "evidence": Stage(distilled, evidence, w.evidence + lines),
        "rewrite": Stage(distilled, rewrite, w.unit),
        "unit read": Stage(trip * accepted, reading(1, w.unit), w.answer),
        "sources read again": Stage(trip * accepted * shares.reread, reading(shares.retained), w.answer),
        "witnesses": Stage(min(shares.witnesses, settings.witnesses) * accepted, reading(1), w.answer),
    }
    if settings.candidates:
        mean = (asked + settings.candidates * reading(1)) / (1 + settings.candidates)
        found["usefulness"] = Stage(examples * (1 + settings.candidates), mean + w.answer, 0)  # the answer is scored
    return found


def _template(name: str, documents: int) -> int:
    return sum(_words(message.content) for message in task(name).messages("", [ONE] * documents))


def _block(name: str) -> int:
    """Words about the documents in the prompt that has some, and not in the one without."""
    return _template(name, 1) - _template(name, 0) - _words(reference([ONE]))


def _rendered(name: str, **values: str) -> int:
    return sum(_words(message.content) for message in render(name, None, question="", **values))


def _words(text: str) -> int:
    return len(text.split())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
