"""Naive RAG: retrieve once, read everything in one prompt (paper eqs. 1 and 2; FlashRAG's sequential pipeline).

The baseline of every other method; over no documents it is the closed-book answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from wbrag.core.types import Answer, Hit
from wbrag.methods import Rag


async def answer(question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> Answer:
    """Answer from `documents`, or from the retriever's top k where they are None; an empty list means closed book."""
    hits = await rag.retrieve(question, documents)
    reply = (await rag.read(question, hits)).text
    return Answer(rag.task.read(reply, len(hits)), rag.task.ranked(reply, hits))
