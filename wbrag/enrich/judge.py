"""LLM judge: how far a model finds an answer supported by the evidence, in place of labels (`gate_metric: judge`).

The score is the first token's share of "yes", in [0, 1]. It needs no gold answer: plain question logs are enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from wbrag.core.tasks import reference
from wbrag.core.types import Generator, Hit
from wbrag.generators.logprobs import label_shares


async def judge(
    generator: Generator, question: str, answer: str, evidence: Sequence[Hit], prompts_dir: str | None = None
) -> float:
    """P(yes) that `evidence` supports `answer`; 0 for an empty answer, without evidence, or for no verdict at all."""
    if not answer or not evidence:
        return 0.0
    block = reference(evidence)
    yes, _ = await label_shares(
        generator, "judge", ("yes", "no"), prompts_dir, 0.0, question=question, answer=answer, documents=block
    )
    return yes
