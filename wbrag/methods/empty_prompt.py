"""Empty-context control: the prompt with documents, over no documents.

What it gains over the closed book comes from the prompt's wording alone: documents have to gain more.
"""

from __future__ import annotations

from collections.abc import Sequence

from wbrag.core.prompts import render
from wbrag.core.reading import read_answer
from wbrag.core.types import Answer, Hit
from wbrag.methods import Rag


async def answer(question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> Answer:
    """Answer by heart from the prompt that speaks of documents; whatever is given or could be found is left out."""
    prompt = render(f"{rag.task.name}.rag", rag.prompts_dir, question=question, documents="")
    return Answer(read_answer((await rag.generator.generate(prompt, rag.sampling)).text))
