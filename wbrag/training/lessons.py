"""Lessons: labelled questions as arrays, a question a row, from the usefulness that enrichment recorded.

A question teaches where its candidates differ; it is taught or held out by its id alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wbrag.core.errors import WbragError
from wbrag.core.types import Example, content_hash
from wbrag.enrich.enrich import Verdict
from wbrag.enrich.usefulness import Candidate, gold_ids, is_gold
from wbrag.retrieval.encoder import Vectors

FEWEST = 100  # questions: of fewer, the fifth that is held out says nothing
HELD_OUT, STOPPING = 0.2, 0.1  # shares of the questions
ALIKE = 1e-6  # nats a token: likelihoods that differ by less do not rank
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


class Labelled(NamedTuple):
    """One question with what it teaches."""

    example: Example
    candidates: tuple[Candidate, ...]  # all that were found, best first
    logprob_nr: float


class Left(NamedTuple):
    """Why rows teach nothing, and how many."""

    failed: int = 0
    unlabelled: int = 0  # no likelihood was recorded
    broken: int = 0  # a likelihood that is no number
    alike: int = 0  # all candidates make the answer equally likely


@dataclass(frozen=True)
class Lessons:
    """`n` questions with `k` candidates each, padded; arrays are row for row.

    `logprob` and `similarity` are NaN where there is none; `gold` is False there.
    """

    ids: tuple[str, ...]
    queries: Vectors  # [n, d]
    passage_ids: tuple[str, ...]  # [m]
    passages: Vectors  # [m, d], each candidate once
    places: npt.NDArray[np.int64]  # [n, k] into `passages`; 0 where padded
    present: Bools  # [n, k]
    similarity: Floats  # [n, k]
    logprob: Floats  # [n, k], nats a token with that passage alone
    logprob_nr: Floats  # [n], without any
    gold: Bools  # [n, k]: a gold passage

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def asked(self) -> Bools:
        """[n, k]: candidates whose usefulness is known."""
        return self.present & np.isfinite(self.logprob)

    def part(self, rows: Sequence[int]) -> Lessons:
        """These questions alone."""
        at = np.asarray(rows, dtype=np.int64)
        return Lessons(
            tuple(self.ids[row] for row in rows),
            self.queries[at],
            self.passage_ids,
            self.passages,
            *(getattr(self, name)[at] for name in ("places", "present", "similarity", "logprob", "logprob_nr", "gold")),
        )


def labelled(rows: Sequence[tuple[Example, Verdict]]) -> tuple[list[Labelled], Left]:
    """The questions that teach, and how many rows do not, by the reason."""
    kept: list[Labelled] = []
    left = dict.fromkeys(Left._fields, 0)
    for example, verdict in rows:
        useful = verdict.usefulness
        known = [c.logprob for c in useful.candidates if c.logprob is not None] if useful else []
        if verdict.error:
            left["failed"] += 1
        elif useful is None or useful.logprob_nr is None or len(known) < 2:
            left["unlabelled"] += 1
        elif not all(map(math.isfinite, [*known, useful.logprob_nr])):
            left["broken"] += 1
        elif max(known) - min(known) < ALIKE:
            left["alike"] += 1
        else:
            kept.append(Labelled(example, useful.candidates, useful.logprob_nr))
    return kept, Left(**left)


def enough(kept: Sequence[Labelled], left: Left, examples: str) -> None:
    """Raises `WbragError` where too few questions teach, with what the others lack."""
    if len(kept) >= FEWEST:
        return
    reasons = (
        (left.failed, "failed"),
        (left.unlabelled, "have no likelihoods (enrich with --enrich.candidates 10)"),
        (left.broken, "have likelihoods that are no numbers"),
        (left.alike, "have candidates that are all equally useful"),
    )
    others = ", ".join(f"{count} {why}" for count, why in reasons if count)
    raise WbragError(
        f"expected at least {FEWEST} questions of {examples} whose candidates differ in usefulness (a fifth is held "
        f"out to measure by), found {len(kept)}{f'; {others}' if others else ''}: label more"
    )


def lessons(kept: Sequence[Labelled], queries: Vectors, vectors: Mapping[str, Floats]) -> Lessons:
    """Arrays of `kept`; `queries` [n, d] are the vectors of its questions, `vectors` those of its candidates by id."""
    ids = list(dict.fromkeys(c.id for found in kept for c in found.candidates))
    place = {id: at for at, id in enumerate(ids)}
    shape = (len(kept), max(len(found.candidates) for found in kept))
    places, present, gold = np.zeros(shape, np.int64), np.zeros(shape, bool), np.zeros(shape, bool)
    similarity, logprob = (np.full(shape, np.nan, np.float32) for _ in range(2))
    for row, found in enumerate(kept):
        named = gold_ids(found.example)
        for column, candidate in enumerate(found.candidates):
            at = row, column
            places[at], present[at], similarity[at] = place[candidate.id], True, candidate.score
            logprob[at] = np.nan if candidate.logprob is None else candidate.logprob
            gold[at] = is_gold(candidate.id, named)
    return Lessons(
        tuple(found.example.id for found in kept),
        queries,
        tuple(ids),
        np.stack([vectors[id] for id in ids]).astype(np.float32),
        places,
        present,
        similarity,
        logprob,
        np.array([found.logprob_nr for found in kept], np.float32),
        gold,
    )


class Split(NamedTuple):
    """Row numbers: to learn from, to stop by, and to be measured on, each ascending."""

    taught: list[int]
    stopping: list[int]
    held_out: list[int]


def split(ids: Sequence[str], seed: int) -> Split:
    """Three parts by the hash of each id: one question more moves no other."""
    parts = Split([], [], [])
    for row, id in enumerate(ids):
        chance = int(content_hash(f"{seed} {id}")[:8], 16) / 2**32
        parts[2 if chance < HELD_OUT else 1 if chance < HELD_OUT + STOPPING else 0].append(row)
    return parts
