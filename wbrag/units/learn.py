"""Learning from traffic (Bidirectional RAG, arXiv 2512.22199): served answers that users liked become candidates.

Only where an answer is grounded in passages that were retrieved for it, and says something that neither corpus nor
shelf says yet. A person decides on them: no policy approves these units. Units among the hits are no evidence, so that
the library never learns from itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wbrag.core.errors import NoAnswer, UsageError
from wbrag.core.io.append_log import AppendLog
from wbrag.core.sections import ChecksConfig, LearnConfig
from wbrag.core.types import Evidence, Example, Hit, Passage, Unit
from wbrag.enrich.judge import judge
from wbrag.enrich.rows import unit_of
from wbrag.retrieval.encoder import Vectors
from wbrag.units.checks import CheckInput, Nli
from wbrag.units.checks.grounding import grounding
from wbrag.units.checks.nli import open_nli
from wbrag.units.library import JobModels, Library
from wbrag.units.releases import now
from wbrag.units.stored import FROM_TRAFFIC, StoredUnit, vectors_of
from wbrag.units.usage import Feedback, Served

log = logging.getLogger(__name__)
JUDGED_AT_ONCE = 16


@dataclass(frozen=True)
class Lesson:
    """What became of one served answer: `outcome` is `candidate`, `rejected` or `passed over`, and `why` says it."""

    request_id: str
    at: str
    outcome: str
    why: str
    grounding: float | None = None
    unit_id: str = ""


def grounded_in(
    answer: str, passages: Sequence[Passage], settings: ChecksConfig, nli: Nli | None = None
) -> tuple[list[Passage], float]:
    """The passages that support `answer`, each by itself, and the best score among all of them."""
    found = []
    best = 0.0
    for passage in passages:
        claim = Unit("", answer, (), ((passage.id, ""),), (Evidence(passage.id, passage.text),))
        result = grounding(CheckInput(claim, (passage,)), settings, nli)
        best = max(best, result.score or 0.0)
        if result.passed:
            found.append(passage)
    return found, best


def learn(library: Library, models: JobModels) -> dict[str, Any]:
    """Turn served answers that were not looked at yet into candidates, or into rejections with their reason."""
    settings = library.config.learn
    if not settings.enabled:
        raise UsageError("expected learn.enabled: true to learn from served answers, found false: set it first")
    lessons_learned = AppendLog(library.layout.path / "shelf" / "learned", Lesson)
    served = library.layout.usage.served()
    asked_by, words = {s.request_id: s.by for s in served}, library.layout.usage.ratings().items()
    ratings = {id: word for id, word in words if asked_by.get(id) == word.by}  # a word on another's answer is none
    seen = {lesson.request_id for lesson in lessons_learned.rows() if not _liked_since(lesson, ratings)}
    if served and not any(s.question for s in served):
        raise UsageError(
            f"expected served answers with their questions, found {len(served)} without: "
            "serve with serving.record answers"
        )
    fresh = [s for s in served if s.request_id not in seen and s.question and s.answer]
    liked, unjudged = _liked(library, models, fresh, ratings, settings)
    lessons, groups = _attribute(library, [s for s in fresh if s.request_id in liked], settings)
    lessons += _distil(library, models, groups, settings)
    unliked = [s for s in fresh if s.request_id not in liked | unjudged]
    lessons_learned.append(Lesson(s.request_id, now(), "passed over", "nobody liked it") for s in unliked)
    lessons_learned.append(lessons)
    if any(lesson.outcome == "candidate" for lesson in lessons):
        library.check()
    made = sum(lesson.outcome == "candidate" for lesson in lessons)
    found = {"answers": len(fresh), "not_liked": len(unliked), "candidates": made, "rejected": len(lessons) - made}
    return found | ({"unjudged": len(unjudged)} if unjudged else {})


def _liked_since(lesson: Lesson, ratings: Mapping[str, Feedback]) -> bool:
    """Whether somebody liked an answer after it was passed over."""
    rated = ratings.get(lesson.request_id)
    return lesson.outcome == "passed over" and rated is not None and rated.rating > 0 and rated.at > lesson.at


def _liked(
    library: Library, models: JobModels, served: Sequence[Served], ratings: dict[str, Feedback], settings: LearnConfig
) -> tuple[set[str], set[str]]:
    """Answers with a thumb up, and unrated ones that the judge finds well supported; and those it did not judge.

    An error is no verdict: what could not be judged is looked at again the next time. Raises `NoAnswer` where the
    model judged nothing at all.
    """

    up = {s.request_id for s in served if s.request_id in ratings and ratings[s.request_id].rating > 0}
    unrated = [s for s in served if s.request_id not in ratings]
    if not unrated:
        return up, set()
    generator, slots = models.generator(), asyncio.Semaphore(JUDGED_AT_ONCE)
    passages = library.layout.passages({id for s in unrated for id in s.hit_ids})

    async def score(s: Served) -> float | Exception:
        hits = [Hit(p.id, p.title, p.text, 0.0) for id in s.hit_ids if (p := passages.get(id))]
        async with slots:
            try:
                return await judge(generator, s.question, s.answer, hits, library.config.prompts_dir)
            except Exception as error:
                return error

    async def scores() -> list[float | Exception]:
        return await asyncio.gather(*(score(s) for s in unrated))

    found = dict(zip((s.request_id for s in unrated), asyncio.run(scores())))
    errors = {id: error for id, error in found.items() if isinstance(error, Exception)}
    if errors:
        said = " ".join(str(next(iter(errors.values()))).split())[:200]
        if len(errors) == len(found) and not up:
            raise NoAnswer(
                f"expected the model to judge {len(found)} served answers, found that it judged none ({said}): "
                "start it and run the command again; none of them was passed over"
            )
        log.warning("%d served answers could not be judged (%s): the next run looks at them again", len(errors), said)
    well = {id for id, score in found.items() if not isinstance(score, Exception) and score >= settings.judge}
    return up | well, set(errors)


def _attribute(
    library: Library, served: Sequence[Served], settings: LearnConfig
) -> tuple[list[Lesson], list[tuple[Served, list[Passage], float]]]:
    """Rejections, and the answers that stand on retrieved passages with these passages."""

    checks = library.config.checks
    nli = open_nli(checks)
    checks = checks.model_copy(update={"grounding": settings.grounding})
    passages = library.layout.passages({id for s in served for id in s.hit_ids})
    lessons, groups = [], []
    for s in served:
        retrieved = [
            passages[id] for id, origin in zip(s.hit_ids, s.hit_origins) if origin == "base" and id in passages
        ]
        attributed, best = grounded_in(s.answer, retrieved, checks, nli)
        if attributed:
            groups.append((s, attributed, best))
        else:
            why = f"no retrieved passage grounds the answer (best {best:.2f}, expected {settings.grounding:g})"
            lessons.append(Lesson(s.request_id, now(), "rejected", why, best))
    return lessons, groups


def _distil(
    library: Library, models: JobModels, groups: Sequence[tuple[Served, list[Passage], float]], settings: LearnConfig
) -> list[Lesson]:
    """Each answer's passages distilled; a unit that is no news is rejected, the others go onto the shelf."""

    if not groups:
        return []
    examples = [
        Example(s.request_id, s.question, (s.answer,), s.task, {"documents": [(p.id, p.title, p.text) for p in found]})
        for s, found, _ in groups
    ]
    run = models.distil(examples, round_trip=True, witnessed=True)
    rows = [row for row in run.rows if not row["error"]]
    contents = [f"{row['unit_title']}\n{row['unit_text']}" for row in rows]
    vectors = models.embed(contents) if rows else np.empty((0, 0), np.float32)
    units = [StoredUnit(unit_of(row), vector) for row, vector in zip(rows, vectors)]
    near, shelved = models.nearest(units), _nearest_shelved(library, vectors)
    scores = {s.request_id: best for s, _, best in groups}
    lessons, kept, news = [], [], list[StoredUnit]()
    for row, unit, closest in zip(rows, units, shelved, strict=True):
        others = [hit.score for hit in near[unit.unit.id]] + [float(s.vector @ unit.vector) for s in news]
        closest = max([closest, *others])
        lesson = Lesson(row["id"], now(), "candidate", "", scores[row["id"]], unit.unit.id)
        if closest >= settings.novelty:
            why = f"nothing new: cosine {closest:.2f} to what is there, expected below {settings.novelty:g}"
            lesson = replace(lesson, outcome="rejected", why=why)
        else:
            kept.append(row)
            news.append(unit)
        lessons.append(lesson)
    failed = [row for row in run.rows if row["error"]]
    library.shelve(kept, run.folder.name, **{FROM_TRAFFIC: 1.0})
    return lessons + [Lesson(row["id"], now(), "rejected", row["error"], scores[row["id"]]) for row in failed]


def _nearest_shelved(library: Library, vectors: Vectors) -> list[float]:
    """The highest cosine of each of `vectors` [n, d] to a unit on the shelf, 0 at least; piece by piece."""
    best = np.zeros(len(vectors), np.float32)
    for piece in library.layout.shelf.scanned(["vector"]) if len(vectors) else ():
        best = np.maximum(best, (vectors @ np.stack(vectors_of(piece)).T).max(axis=1))
    return best.tolist()
