"""Naive RAG: retrieve once, read everything in one prompt (paper eqs. 1 and 2; FlashRAG's sequential pipeline)."""

from __future__ import annotations

from collections.abc import Sequence

from wbrag.methods import Rag
from wbrag.tasks import read_answer
from wbrag.types import Answer, Hit


async def answer(question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> Answer:
    """Answer from `documents`, or from the retriever's top k where they are None; an empty list means closed book."""
    if documents is None:
        [documents] = await rag.retriever.search([question], rag.top_k)
    completion = await rag.generator.generate(rag.task.messages(question, documents, rag.prompts_dir), rag.sampling)
    return Answer(read_answer(completion.text), tuple(documents), 1, completion.prompt_tokens, completion.tokens)
