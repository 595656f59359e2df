"""Distillation in two steps (paper eq. 10, appendix G): evidence extraction, then a rewrite as one compact passage.

No function here has a parameter for a gold answer, so none can reach a distillation prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wbrag.core.prompts import render
from wbrag.core.sections import EnrichConfig
from wbrag.core.sentences import sentences
from wbrag.core.tasks import as_data, reference
from wbrag.core.types import Evidence, Generator, Hit, Sampling, Unit
from wbrag.enrich.distil_replies import one_line, parse_evidence, parse_unit
from wbrag.retrieval.encoder import QueryEncoder

EVIDENCE_TOKENS = 384  # eight sentences of a 100-word passage


@dataclass(frozen=True)
class Distilled:
    """A unit, with the sentences that it rests on, and how it came about. `calls` counts generator calls."""

    unit: Unit
    evidence_fallback: bool  # the model named no sentence that exists; the encoder chose
    rewrite_fallback: bool  # the rewrite was no title and paragraph; the evidence stands as it is
    calls: int


@dataclass(frozen=True)
class Distiller:
    """The tools of distillation; the model is the generator itself, as in the paper."""

    generator: Generator
    encoder: QueryEncoder
    settings: EnrichConfig
    prompts_dir: str | None = None

    async def distil(self, question_id: str, question: str, retained: Sequence[Hit]) -> Distilled:
        """`question` and its retained documents to one unit."""

        def unit(title: str, text: str) -> Unit:
            sources = tuple((hit.id, hit.content_hash) for hit in retained)
            return Unit(title, text, (question_id,), sources, tuple(evidence))

        if self.settings.distiller == "extractive":
            evidence = await self.nearest(question, retained, self.settings.max_sentences)
            return Distilled(unit(retained[0].title, _joined(evidence)), False, False, 0)
        evidence = await self.extract(question, retained)
        fallback = not evidence
        if fallback:
            evidence = await self.nearest(question, retained, self.settings.fallback_sentences)
        title, text = await self.rewrite(question, evidence)
        if not text:
            return Distilled(unit(retained[0].title, _joined(evidence)), fallback, True, 2)
        return Distilled(unit(title or retained[0].title, text), fallback, False, 2)

    async def extract(self, question: str, retained: Sequence[Hit]) -> tuple[Evidence, ...]:
        """Step 1: the sentences that the model points at, those that really occur in their document."""
        prompt = render(
            "evidence",
            self.prompts_dir,
            question=question,
            documents=reference(retained),
            max_sentences=str(self.settings.max_sentences),
        )
        completion = await self.generator.generate(prompt, Sampling(max_tokens=EVIDENCE_TOKENS))
        return parse_evidence(completion.text, retained, self.settings.max_sentences)

    async def nearest(self, question: str, retained: Sequence[Hit], count: int) -> tuple[Evidence, ...]:
        """The `count` sentences most similar to the question, in the order of the documents."""
        found = [Evidence(d.id, one_line(d.text[start:end])) for d in retained for start, end in sentences(d.text)]
        if len(found) <= count:
            return tuple(found)
        vectors = await self.encoder.queries([question, *(e.sentence for e in found)])
        chosen = np.argsort(-(vectors[1:] @ vectors[0]), kind="stable")[:count]
        return tuple(found[i] for i in sorted(chosen))

    async def rewrite(self, question: str, evidence: Sequence[Evidence]) -> tuple[str, str]:
        """Step 2: title and paragraph; an empty title, or both empty, where the model wrote no such thing."""
        prompt = render(
            "rewrite", self.prompts_dir, question=question, evidence="\n".join(as_data(e.sentence) for e in evidence)
        )
        completion = await self.generator.generate(prompt, Sampling(max_tokens=self.settings.max_unit_tokens))
        return parse_unit(completion.text, cut=completion.finish_reason == "length")


def _joined(evidence: Sequence[Evidence]) -> str:
    return " ".join(e.sentence for e in evidence)
