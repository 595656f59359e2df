"""Causes: why each question was answered right or wrong, from what its verdict row holds.

A question has one cause. Pure functions of rows: no model is asked.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from wbrag.core.types import Example
from wbrag.enrich.enrich import Verdict
from wbrag.enrich.usefulness import Candidate, Usefulness, gold_ids

RIGHT = 0.5  # the score from which an answer counts as right, as McNemar's test counts it


class Cause(NamedTuple):
    """What happened to a question, and what can be done about all that share it."""

    name: str
    title: str
    meaning: str
    lever: str
    right: bool = False  # the answer was, with the library


CAUSES = {
    cause.name: cause
    for cause in (
        Cause(
            "known",
            "Known without documents",
            "The model answers with and without the library.",
            "Nothing: the library is not needed here.",
            right=True,
        ),
        Cause(
            "helped",
            "Answered from the library",
            "Wrong without documents, right with them.",
            "`wbrag enrich` distils what helped, so that the next question in other words finds it too.",
            right=True,
        ),
        Cause(
            "distracted",
            "Lost to distracting documents",
            "Right without documents, wrong with them.",
            "Fewer documents (`retrieval.top_k`), `wbrag train retriever`, or a model that reads more carefully.",
        ),
        Cause(
            "unused",
            "In the top {top_k}, but not used",
            "What was read holds the answer, and the model did not take it: packaging.",
            "`wbrag enrich` packs the evidence into short units; or another `generator.model`.",
        ),
        Cause(
            "ranking",
            "In the top {depth}, but not in the top {top_k}",
            "The answer was found too far down: ranking.",
            "`wbrag train retriever`, another `encoder.model`, or a larger `retrieval.top_k`.",
        ),
        Cause(
            "deep",
            "In the corpus, but not in the top {depth}",
            "The passage that is named as gold is there, and the search does not come near it.",
            "Another `encoder.model`; look whether question and passage share any words or names.",
        ),
        Cause(
            "missing",
            "Nowhere found",
            "None of the best {depth} passages holds the answer: missing knowledge, or an answer in other words.",
            "Add documents that hold it (`wbrag ingest corpus`, `wbrag index`).",
        ),
        Cause(
            "unclear",
            "Cannot be told",
            "The answer is a label, and nothing says which passages support it.",
            'Name gold passages in the examples\' metadata ("gold"), or record `enrich.candidates`.',
        ),
    )
}


def cause_of(verdict: Verdict, example: Example, corpus: Collection[str], top_k: int) -> tuple[str, int | None]:
    """The name of the question's cause, and the rank (0-based) of the first candidate that holds the answer.

    `corpus` are those of the gold passages that exist.
    """
    useful = verdict.usefulness or Usefulness()
    found = [_holds(candidate, useful.logprob_nr) for candidate in useful.candidates]
    rank = next((rank for rank, held in enumerate(found) if held), None)
    closed, opened = (verdict.s_nr or 0.0) >= RIGHT, (verdict.s_rag or 0.0) >= RIGHT
    if closed:
        return ("known" if opened else "distracted"), rank
    if opened:
        return "helped", rank
    if rank is not None:
        return ("unused" if rank < top_k else "ranking"), rank
    if any(id in corpus or f"{id}#0" in corpus for id in gold_ids(example)):
        return "deep", None
    return ("unclear" if found and None in found else "missing"), None


def _holds(candidate: Candidate, logprob_nr: float | None) -> bool | None:
    """By the passage itself, else by use: with it alone the gold answer is the likelier one, and more than without."""
    if candidate.holds is not None or candidate.logprob is None:
        return candidate.holds
    return candidate.logprob > max(math.log(0.5), -math.inf if logprob_nr is None else logprob_nr)


def distracting(verdict: Verdict, top_k: int) -> tuple[int, int]:
    """Of the candidates in the top k that were asked about: those that alone make the gold answer less likely; all."""
    useful = verdict.usefulness or Usefulness()
    if useful.logprob_nr is None:
        return 0, 0
    asked = [c.logprob for c in useful.candidates[:top_k] if c.logprob is not None]
    return sum(logprob < useful.logprob_nr for logprob in asked), len(asked)
