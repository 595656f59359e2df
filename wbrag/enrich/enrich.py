"""Enrichment of one example: the paper's Algorithm 1, in its order.

Every score is kept in the `Verdict`, a rejected example's too, so that thresholds can be applied to stored scores.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import Task
from wbrag.core.types import Answer, Example, Hit, Int32, Unit, Witness
from wbrag.enrich.distil import Distilled, Distiller
from wbrag.enrich.gates import document_gate, utility_gate, utility_gate_is_out_of_reach
from wbrag.enrich.leakage_audit import audit
from wbrag.enrich.round_trip import RoundTrip, round_trip
from wbrag.enrich.scores import Scorer
from wbrag.enrich.usefulness import Usefulness, depth, held_again, usefulness
from wbrag.enrich.witnesses import witnesses
from wbrag.methods import Method, Rag
from wbrag.methods.meter import Meter


@dataclass(frozen=True)
class WrittenUnit:
    """A unit as enrichment wrote it.

    `s_unit` and `s_kept` are the two sides of the paper's equation 11: the score of the answer read from the unit
    alone, and from the documents that it was distilled from. `witnesses` is None where nobody was asked.
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
    unit_calls: Int32 = 0  # of its distillation, whoever made them
    read_calls: Int32 = 0  # of its round trip
    witnesses: tuple[Witness, ...] | None = None
    witness_calls: Int32 = 0


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
    calls: Int32 = 0  # made for this row
    error: str = ""
    reused_calls: Int32 = 0  # made by earlier runs, whose replies this row takes
    step_calls: tuple[Int32, ...] = ()  # closed book, open book, documents alone; whoever made them
    ends: dict[str, int] = field(default_factory=dict, hash=False)  # of the replies that it rests on
    usefulness: Usefulness | None = None  # None where nobody looked deeper

    @property
    def unit(self) -> Unit | None:
        return self.written.unit if self.written else None


@dataclass(frozen=True)
class Known:
    """What earlier runs found out about an example, where the same settings decide it: taken, and not asked again.

    `verdict` holds the answers and their scores, and a unit's round trip where that is the same too; `hits` are its
    hits; `units` were distilled by the same model and prompts, from documents that may be others; `usefulness` is that
    of the same candidates to the same model.
    """

    verdict: Verdict | None = None
    hits: tuple[Hit, ...] = ()
    units: tuple[WrittenUnit, ...] = ()
    usefulness: Usefulness | None = None

    def unit(self, retained: Sequence[Hit]) -> WrittenUnit | None:
        """The unit that was distilled from these documents, in this order."""
        wanted = [hit.id for hit in retained]
        return next((written for written in self.units if [id for id, _ in written.unit.sources] == wanted), None)


NOTHING = Known()


Worth = Callable[[WrittenUnit, Sequence[Hit]], bool]  # whether a unit of these documents is worth its witnesses


def anybody(written: WrittenUnit, retained: Sequence[Hit]) -> bool:
    """Every unit is."""
    return True


def nobody(written: WrittenUnit, retained: Sequence[Hit]) -> bool:
    """No unit is."""
    return False


@dataclass(frozen=True)
class Enricher:
    """Everything that one example's enrichment works with."""

    method: Method
    rag: Rag
    distiller: Distiller | None  # None: verdicts alone, no unit is written
    settings: EnrichConfig
    worth: Worth = anybody  # whose units witnesses are asked about; of a closed set of labels no passage holds one

    async def enrich(self, example: Example, known: Known = NOTHING) -> Verdict:
        """Algorithm 1 for `example`; calls that do not depend on each other run together."""
        meter = Meter(self.rag.generator, self.rag.retriever)  # of answers and of scores, step by step
        rag = replace(self.rag, generator=meter)
        written = Meter(self.distiller.generator if self.distiller else self.rag.generator, self.rag.retriever)
        writer = replace(self.distiller, generator=written) if self.distiller else None
        case = _Case(
            replace(self, distiller=writer), example, known, meter, rag, Scorer(rag, self.settings.gate_metric)
        )
        verdict = await case.look_deeper(await case.decide())
        before = known.verdict.ends if known.verdict else {}
        return replace(verdict, ends=dict(meter.ends + written.ends + Counter(before)))


@dataclass
class _Case:
    """One example under way: every step takes what is known, or asks, and adds to the verdict."""

    tools: Enricher
    example: Example
    known: Known
    meter: Meter
    rag: Rag
    scorer: Scorer

    @property
    def gate(self) -> EnrichConfig:
        return self.tools.settings

    async def decide(self) -> Verdict:
        gate, e = self.gate, self.example
        verdict = await self._closed_book(Verdict(e.id, e.question, e.task, False, ""))
        skips = gate.lossless_skip and gate.record == "needed" and not self.scorer.sees_retrieved
        if skips and self._out_of_reach(verdict):
            return replace(verdict, reason="closed book suffices")
        verdict, hits = await self._open_book(verdict)
        s_nr, s_rag = verdict.s_nr or 0.0, verdict.s_rag or 0.0
        passed = bool(hits) and utility_gate(s_nr, s_rag, tau_s=gate.tau_s, tau_delta=gate.tau_delta)
        if not passed:
            suffices = self._out_of_reach(verdict)
            verdict = replace(verdict, reason="closed book suffices" if suffices else "retrieval did not help")
        if passed or gate.record == "all":
            verdict = await self._documents(verdict, hits)
        return await self._accept(verdict, hits) if passed else verdict

    # -- answers and their scores ---------------------------------------------------------------------------------

    async def _closed_book(self, verdict: Verdict) -> Verdict:
        was = self.known.verdict
        if was is not None:
            s_nr = self.scorer.again(was.closed_book, self.example, was.s_nr)
            return self._step(verdict, 0, was, closed_book=was.closed_book, s_nr=s_nr)
        closed = await self.tools.method(self.example.question, self.rag, [])
        # the judge sees what was retrieved, and that is not known yet
        s_nr = None if self.scorer.sees_retrieved else await self.scorer.score(closed, self.example, ())
        return self._step(verdict, 0, None, closed_book=closed.text, s_nr=s_nr)

    async def _open_book(self, verdict: Verdict) -> tuple[Verdict, Sequence[Hit]]:
        was, e = self.known.verdict, self.example
        if was is not None and was.s_rag is not None:
            s_rag = self.scorer.again(was.open_book, e, was.s_rag)
            found = {"hit_ids": was.hit_ids, "hit_scores": was.hit_scores, "open_book": was.open_book}
            return self._step(verdict, 1, was, s_rag=s_rag, **found), self.known.hits
        opened = await self.tools.method(e.question, self.rag, None)
        hits = opened.hits
        s_rag, s_nr = await self.scorer.score(opened, e, hits), verdict.s_nr
        if s_nr is None:
            s_nr = await self.scorer.score(Answer(verdict.closed_book), e, hits)
        ids, scores = tuple(h.id for h in hits), tuple(round(h.score, 6) for h in hits)
        verdict = replace(verdict, s_nr=s_nr, hit_ids=ids, hit_scores=scores, open_book=opened.text)
        return self._step(verdict, 1, None, s_rag=s_rag), hits

    async def _documents(self, verdict: Verdict, hits: Sequence[Hit]) -> Verdict:
        """Every document alone in the context (eq. 8)."""
        was, e = self.known.verdict, self.example
        if was is not None and was.s_doc:
            again = tuple(self.scorer.again(text, e, s) or 0.0 for text, s in zip(was.solo, was.s_doc))
            return self._step(verdict, 2, was, s_doc=again, solo=was.solo)
        solo = await asyncio.gather(*(self.tools.method(e.question, self.rag, [hit]) for hit in hits))
        scores = await asyncio.gather(*(self.scorer.score(answer, e, hits) for answer in solo))
        return self._step(verdict, 2, None, s_doc=tuple(scores), solo=tuple(answer.text for answer in solo))

    def _step(self, verdict: Verdict, number: int, taken: Verdict | None, **found: Any) -> Verdict:
        """The verdict with what step `number` found, and with what that cost, now or in the run it is `taken` from."""
        counted = sum(verdict.step_calls) - verdict.reused_calls
        cost = self.meter.calls - counted if taken is None else taken.step_calls[number]
        reused = verdict.reused_calls + (cost if taken is not None else 0)
        steps = (*verdict.step_calls, cost)
        return replace(verdict, **found, step_calls=steps, calls=sum(steps) - reused, reused_calls=reused)

    def _out_of_reach(self, verdict: Verdict) -> bool:
        gate = self.gate
        return utility_gate_is_out_of_reach(verdict.s_nr or 0.0, tau_s=gate.tau_s, tau_delta=gate.tau_delta)

    async def look_deeper(self, verdict: Verdict) -> Verdict:
        """Beside Algorithm 1, where the settings ask for it: what each candidate document alone would do."""
        if not depth(self.gate):
            return verdict
        known, made = self.known.usefulness, 0
        if known is not None:
            found = held_again(known, self.example)
        else:
            found = await usefulness(self.rag, self.example, self.gate)
            made = found.calls
        reused = verdict.reused_calls + found.calls - made
        return replace(verdict, usefulness=found, calls=verdict.calls + made, reused_calls=reused)

    # -- the unit -----------------------------------------------------------------------------------------------

    async def _accept(self, verdict: Verdict, hits: Sequence[Hit]) -> Verdict:
        """Keep the documents that helped (eq. 9), distil them (eq. 10), and read the unit as they were (eq. 11)."""
        gate, e = self.gate, self.example
        ranks, fallback = document_gate(verdict.s_nr or 0.0, verdict.s_doc, tau_doc=gate.tau_doc, n_min=gate.n_min)
        retained = [hits[rank] for rank in ranks]
        verdict = replace(verdict, accepted=True, reason="accepted", retained=tuple(ranks), fallback=fallback)
        if self.tools.distiller is None:
            return verdict
        written, made = self.known.unit(retained), 0
        if written is None:
            distilled = await self.tools.distiller.distil(e.id, e.question, retained)
            written, made = written_unit(distilled, retained, self.rag.task, e), distilled.calls
        if not gate.round_trip:
            written = replace(written, s_unit=None, s_kept=None, read_calls=0)
        elif written.s_unit is None:
            before = self.meter.calls
            found = await self._round_trip(verdict, written.unit, retained, len(hits))
            read = self.meter.calls - before
            written, made = replace(written, s_unit=found.s_unit, s_kept=found.s_kept, read_calls=read), made + read
        if not gate.witnesses:
            written = replace(written, witnesses=None, witness_calls=0)
        elif written.witnesses is None and not self.rag.task.closed and self.tools.worth(written, retained):
            before = self.meter.calls
            answers = e.golden_answers or (verdict.open_book,)
            said = await witnesses(self.rag, e.question, written.unit, retained, answers, gate.witnesses)
            asked = self.meter.calls - before
            written, made = replace(written, witnesses=said, witness_calls=asked), made + asked
        reused = verdict.reused_calls + written.unit_calls + written.read_calls + written.witness_calls - made
        return replace(verdict, written=written, calls=verdict.calls + made, reused_calls=reused)

    async def _round_trip(self, verdict: Verdict, unit: Unit, retained: Sequence[Hit], hits: int) -> RoundTrip:
        """Equation 11; what was scored already (all documents, or one alone) is not asked again."""
        ranks, was = verdict.retained, self.known.verdict
        known = verdict.s_rag if len(ranks) == hits else verdict.s_doc[ranks[0]] if len(ranks) == 1 else None
        if known is None and was is not None and was.written is not None and was.retained == ranks:
            known = was.written.s_kept
        return await round_trip(self.tools.method, self.rag, self.scorer, self.example, unit, retained, s_kept=known)


def written_unit(distilled: Distilled, retained: Sequence[Hit], task: Task, example: Example) -> WrittenUnit:
    """A distilled unit with its lengths, and with what the leakage audit found in it."""
    unit = distilled.unit
    return WrittenUnit(
        unit,
        distilled.evidence_fallback,
        distilled.rewrite_fallback,
        unit_calls=distilled.calls,
        source_words=sum(len(f"{hit.title} {hit.text}".split()) for hit in retained),
        unit_words=len(f"{unit.title} {unit.text}".split()),
        **audit(task, unit.contents, retained, example.golden_answers)._asdict(),
    )
