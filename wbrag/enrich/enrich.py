"""Enrichment of one example: the paper's Algorithm 1, in its order.

Every score is kept in the `Verdict`, a rejected example's too, so that thresholds can be applied to stored scores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import Task
from wbrag.core.types import Example, Hit, Int32, Unit
from wbrag.enrich.distil import Distilled, Distiller
from wbrag.enrich.gates import document_gate, utility_gate, utility_gate_is_out_of_reach
from wbrag.enrich.leakage_audit import audit
from wbrag.enrich.round_trip import round_trip
from wbrag.enrich.scores import Scorer
from wbrag.methods import Method, Rag
from wbrag.methods.meter import Meter


@dataclass(frozen=True)
class WrittenUnit:
    """A unit as enrichment wrote it.

    `s_unit` and `s_kept` are the two sides of the paper's equation 11: the score of the answer read from the unit
    alone, and from the documents that it was distilled from.
    """

    unit: Unit
    evidence_fallback: bool
    rewrite_fallback: bool
    source_words: Int32
    unit_words: Int32
    s_unit: float | None = None
    s_kept: float | None = None
    answer_in_unit: bool | None = None
    answer_in_sources: bool | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of one example: every score, every document, and the unit where there is one.

    `s_rag` and `s_doc` are None where the lossless skip made the call unnecessary.
    """

    id: str
    question: str
    task: str
    accepted: bool
    reason: str  # "accepted", "closed book suffices", "retrieval did not help", "error"
    s_nr: float | None = None
    s_rag: float | None = None
    s_doc: tuple[float, ...] = ()
    closed_book: str = ""
    open_book: str = ""
    solo: tuple[str, ...] = ()
    hit_ids: tuple[str, ...] = ()
    hit_scores: tuple[float, ...] = ()
    retained: tuple[Int32, ...] = ()  # ranks, 0-based
    fallback: bool = False
    written: WrittenUnit | None = None
    calls: Int32 = 0
    error: str = ""

    @property
    def unit(self) -> Unit | None:
        return self.written.unit if self.written else None


@dataclass(frozen=True)
class Enricher:
    """Everything that one example's enrichment works with."""

    method: Method
    rag: Rag
    distiller: Distiller
    settings: EnrichConfig

    async def enrich(self, example: Example) -> Verdict:
        """Algorithm 1 for `example`; calls that do not depend on each other run together."""
        meter = Meter(self.rag.generator, self.rag.retriever)  # of the calls that scores cost
        verdict = await self._decide(example, Scorer(replace(self.rag, generator=meter), self.settings.gate_metric))
        return replace(verdict, calls=verdict.calls + meter.calls)

    async def _decide(self, example: Example, scorer: Scorer) -> Verdict:
        gate = self.settings
        closed = await self.method(example.question, self.rag, [])
        calls = closed.cost.calls
        verdict = Verdict(example.id, example.question, example.task, False, "", closed_book=closed.text, calls=calls)
        if not scorer.sees_retrieved:
            verdict = replace(verdict, s_nr=await scorer.score(closed, example, ()))
            if gate.lossless_skip and gate.record == "needed" and self._out_of_reach(verdict):
                return replace(verdict, reason="closed book suffices")

        opened = await self.method(example.question, self.rag, None)
        hits = opened.hits
        s_rag = await scorer.score(opened, example, hits)
        if scorer.sees_retrieved:
            verdict = replace(verdict, s_nr=await scorer.score(closed, example, hits))
        verdict = replace(
            verdict,
            s_rag=s_rag,
            open_book=opened.text,
            calls=verdict.calls + opened.cost.calls,
            hit_ids=tuple(h.id for h in hits),
            hit_scores=tuple(round(h.score, 6) for h in hits),
        )
        passed = bool(hits) and utility_gate(verdict.s_nr or 0.0, s_rag, tau_s=gate.tau_s, tau_delta=gate.tau_delta)
        if not passed:
            suffices = self._out_of_reach(verdict)
            verdict = replace(verdict, reason="closed book suffices" if suffices else "retrieval did not help")
        if passed or gate.record == "all":
            verdict = await self._score_documents(verdict, example, hits, scorer)
        return await self._accept(verdict, example, hits, scorer) if passed else verdict

    async def _score_documents(
        self, verdict: Verdict, example: Example, hits: Sequence[Hit], scorer: Scorer
    ) -> Verdict:
        """Every document alone in the context (eq. 8)."""
        solo = await asyncio.gather(*(self.method(example.question, self.rag, [hit]) for hit in hits))
        return replace(
            verdict,
            s_doc=tuple(await asyncio.gather(*(scorer.score(answer, example, hits) for answer in solo))),
            solo=tuple(answer.text for answer in solo),
            calls=verdict.calls + sum(answer.cost.calls for answer in solo),
        )

    async def _accept(self, verdict: Verdict, example: Example, hits: Sequence[Hit], scorer: Scorer) -> Verdict:
        """Keep the documents that helped (eq. 9), distil them (eq. 10), and read the unit as they were (eq. 11)."""
        gate = self.settings
        ranks, fallback = document_gate(verdict.s_nr or 0.0, verdict.s_doc, tau_doc=gate.tau_doc, n_min=gate.n_min)
        retained = [hits[rank] for rank in ranks]
        distilled = await self.distiller.distil(example.id, example.question, retained)
        written = written_unit(distilled, retained, self.rag.task, example)
        verdict = replace(
            verdict,
            accepted=True,
            reason="accepted",
            retained=tuple(ranks),
            fallback=fallback,
            written=written,
            calls=verdict.calls + distilled.calls,
        )
        return await self._round_trip(verdict, written, example, hits, scorer) if gate.round_trip else verdict

    async def _round_trip(
        self, verdict: Verdict, written: WrittenUnit, example: Example, hits: Sequence[Hit], scorer: Scorer
    ) -> Verdict:
        """Equation 11; what was scored already (all documents, or one alone) is not asked again."""
        ranks, unit = verdict.retained, written.unit
        known = verdict.s_rag if len(ranks) == len(hits) else verdict.s_doc[ranks[0]] if len(ranks) == 1 else None
        retained = [hits[rank] for rank in ranks]
        found = await round_trip(self.method, self.rag, scorer, example, unit, retained, s_kept=known)
        scored = replace(written, s_unit=found.s_unit, s_kept=found.s_kept)
        return replace(verdict, written=scored, calls=verdict.calls + found.calls)

    def _out_of_reach(self, verdict: Verdict) -> bool:
        gate = self.settings
        return utility_gate_is_out_of_reach(verdict.s_nr or 0.0, tau_s=gate.tau_s, tau_delta=gate.tau_delta)


def written_unit(distilled: Distilled, retained: Sequence[Hit], task: Task, example: Example) -> WrittenUnit:
    """A distilled unit with its lengths, and with what the leakage audit found in it."""
    unit = distilled.unit
    return WrittenUnit(
        unit,
        distilled.evidence_fallback,
        distilled.rewrite_fallback,
        source_words=sum(len(f"{hit.title} {hit.text}".split()) for hit in retained),
        unit_words=len(f"{unit.title} {unit.text}".split()),
        **audit(task, unit.contents, retained, example.golden_answers)._asdict(),
    )
