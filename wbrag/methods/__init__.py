"""RAG methods: one file, one async function each, over the `Generator` and `Retriever` protocols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from wbrag.errors import unknown
from wbrag.tasks import Task
from wbrag.types import Answer, Generator, Hit, Retriever, Sampling


@dataclass(frozen=True)
class Rag:
    """What a method works with: the frozen retriever and generator, and how to ask them."""

    generator: Generator
    retriever: Retriever
    task: Task
    top_k: int = 5
    sampling: Sampling = Sampling()
    prompts_dir: str | None = None


Method = Callable[[str, Rag, Sequence[Hit] | None], Awaitable[Answer]]


def method(name: str) -> Method:
    """The method called `name`."""
    from wbrag.methods import naive

    known: dict[str, Method] = {"naive": naive.answer}
    if name not in known:
        raise unknown("method", name, list(known))
    return known[name]
