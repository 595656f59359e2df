"""Answer scores for the gates (`enrich.gate_metric`): a task metric, the gold answer's likelihood, or an LLM judge.

Every score lies in [0, 1].
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from wbrag.core.types import Answer, Example, Hit
from wbrag.enrich.judge import judge
from wbrag.methods import Needs, Rag

SCORING: dict[str, Needs] = {"judge": "logprobs", "logprob": "scores"}  # what asking for scores needs


@dataclass(frozen=True)
class Scorer:
    """Scores in [0, 1] for one example's answers."""

    rag: Rag
    metric: str

    @property
    def sees_retrieved(self) -> bool:
        """Whether an answer cannot be scored before retrieval, not even one from memory."""
        return self.metric == "judge"

    def again(self, text: str, example: Example, scored: float | None) -> float | None:
        """The score of an answer that an earlier run `scored`: another task metric reads the same text."""
        if self.metric in SCORING or scored is None:
            return scored
        return self.rag.task.score(text, example.golden_answers, self.metric)

    async def score(self, answer: Answer, example: Example, retrieved: Sequence[Hit]) -> float:
        """The judge sees all that was `retrieved`, whatever the answer was read from."""
        if self.metric == "judge":
            return await judge(self.rag.generator, example.question, answer.text, retrieved, self.rag.prompts_dir)
        if self.metric == "logprob":
            return await self._likelihood(answer.hits, example)
        return self.rag.task.score(answer.text, example.golden_answers, self.metric)

    async def _likelihood(self, documents: Sequence[Hit], example: Example) -> float:
        """p(gold answer | task's prompt over `documents`), of the likeliest gold answer.

        The documents are read as naive RAG reads them, whatever method retrieved them.
        """
        prompt = self.rag.task.messages(example.question, documents, self.rag.prompts_dir)
        found = await asyncio.gather(*(self.rag.generator.score(prompt, gold) for gold in example.golden_answers))
        return math.exp(min(0.0, max(scored.logprob for scored in found)))
