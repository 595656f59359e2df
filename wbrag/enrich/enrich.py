"""Enrichment of one example, in the order of the paper's Algorithm 1."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wbrag.config import EnrichConfig
from wbrag.enrich.distil import Distilled, Distiller
from wbrag.enrich.gates import document_gate, utility_gate, utility_gate_is_out_of_reach
from wbrag.methods import Method, Rag
from wbrag.types import Evidence, Example, Hit


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
    retained: tuple[int, ...] = ()  # ranks, 0-based
    fallback: bool = False
    sources: tuple[tuple[str, str], ...] = ()  # retained passages: id, content hash
    unit_title: str = ""
    unit_text: str = ""
    evidence: tuple[Evidence, ...] = ()
    evidence_fallback: bool = False
    rewrite_fallback: bool = False
    source_words: int = 0
    unit_words: int = 0
    calls: int = 0
    error: str = ""


@dataclass(frozen=True)
class Enricher:
    """Everything that one example's enrichment works with."""

    method: Method
    rag: Rag
    distiller: Distiller
    settings: EnrichConfig

    async def enrich(self, example: Example) -> Verdict:
        """Algorithm 1 for `example`; calls that do not depend on each other run together."""
        gate = self.settings
        closed = await self.method(example.question, self.rag, [])
        s_nr = self._score(closed.text, example)
        verdict = Verdict(
            example.id,
            example.question,
            example.task,
            False,
            "",
            s_nr,
            closed_book=closed.text,
            calls=closed.cost.calls,
        )
        score_all = gate.record == "all"
        hopeless = utility_gate_is_out_of_reach(s_nr, tau_s=gate.tau_s, tau_delta=gate.tau_delta)
        if hopeless and gate.lossless_skip and not score_all:
            return replace(verdict, reason="closed book suffices")

        opened = await self.method(example.question, self.rag, None)
        hits = opened.hits
        s_rag = self._score(opened.text, example)
        verdict = replace(
            verdict,
            s_rag=s_rag,
            open_book=opened.text,
            calls=verdict.calls + opened.cost.calls,
            hit_ids=tuple(h.id for h in hits),
            hit_scores=tuple(round(h.score, 6) for h in hits),
        )
        passed = bool(hits) and utility_gate(s_nr, s_rag, tau_s=gate.tau_s, tau_delta=gate.tau_delta)
        if not passed:
            verdict = replace(verdict, reason="closed book suffices" if hopeless else "retrieval did not help")
            if not score_all:
                return verdict

        solo = await asyncio.gather(*(self.method(example.question, self.rag, [hit]) for hit in hits))
        s_doc = tuple(self._score(answer.text, example) for answer in solo)
        verdict = replace(
            verdict,
            s_doc=s_doc,
            solo=tuple(a.text for a in solo),
            calls=verdict.calls + sum(a.cost.calls for a in solo),
        )
        if not passed:
            return verdict
        ranks, fallback = document_gate(s_nr, s_doc, tau_doc=gate.tau_doc, n_min=gate.n_min)
        retained = [hits[rank] for rank in ranks]
        unit = await self.distiller.distil(example.question, retained)
        return replace(
            verdict,
            accepted=True,
            reason="accepted",
            retained=tuple(ranks),
            fallback=fallback,
            calls=verdict.calls + unit.calls,
            **unit_fields(unit, retained),
        )

    def _score(self, answer: str, example: Example) -> float:
        return self.rag.task.score(answer, example.golden_answers, self.settings.gate_metric)


def unit_fields(unit: Distilled, retained: Sequence[Hit]) -> dict[str, Any]:
    """A unit as the fields of a verdict."""
    return {
        "sources": tuple((hit.id, hit.content_hash) for hit in retained),
        "unit_title": unit.title,
        "unit_text": unit.text,
        "evidence": unit.evidence,
        "evidence_fallback": unit.evidence_fallback,
        "rewrite_fallback": unit.rewrite_fallback,
        "source_words": sum(len(f"{hit.title} {hit.text}".split()) for hit in retained),
        "unit_words": len(f"{unit.title} {unit.text}".split()),
    }
