"""ITER-RETGEN: the query of a round is the question with the last round's answer (Shao et al., arXiv 2305.15294).

    D_t = top-k R(q + " " + y_{t-1}),  y_t = G(q, D_t),  y_0 empty,  t = 1..T

The documents of a round replace those before, as in FlashRAG's `IterativePipeline` (T = 3).
"""

from __future__ import annotations

from collections.abc import Sequence

from wbrag.core.types import Answer, Hit
from wbrag.methods import Rag, naive


async def answer(question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> Answer:
    """`rounds` of retrieving and answering. Given documents are the same in every round, so one round says all."""
    if documents is not None:
        return await naive.answer(question, rag, documents)
    found = Answer("")
    for _ in range(rag.settings.iter_retgen.rounds):
        hits = await rag.retrieve(f"{question} {found.text}".strip())
        reply = (await rag.read(question, hits)).text
        found = Answer(rag.task.read(reply, len(hits)), rag.task.ranked(reply, hits))
    return found
