"""RAG methods: one file and one coroutine `answer` each, over the `Generator` and `Retriever` protocols.

A method keeps nothing between two questions; `method` adds to its answers what they cost.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Literal

from wbrag.core.errors import unknown
from wbrag.core.sections import MethodsConfig
from wbrag.core.tasks import Task
from wbrag.core.types import Answer, Completion, Generator, Hit, Message, Retriever, Sampling
from wbrag.methods.conversation import Conversation
from wbrag.methods.meter import Meter

NAMES = ("naive", "replug", "selfrag", "flare", "iter_retgen", "planner")
TALKING = ("naive", "iter_retgen")  # those whose answers may be prose
CONTROLS = ("empty_prompt",)  # not for use, for comparison
Needs = Literal["text", "logprobs", "scores", "tokens"]  # what a method asks of a generator


@dataclass(frozen=True)
class Rag:
    """What a method works with: the frozen retriever and generator, and how to ask them."""

    generator: Generator
    retriever: Retriever
    task: Task
    top_k: int = 5
    sampling: Sampling = Sampling()
    prompts_dir: str | None = None
    settings: MethodsConfig = MethodsConfig()
    conversation: Conversation | None = None

    async def retrieve(self, query: str, documents: Sequence[Hit] | None = None) -> list[Hit]:
        """`documents` where they are given, else the retriever's top k."""
        if documents is not None:
            return list(documents)
        [hits] = await self.retriever.search([query], self.top_k)
        return hits

    async def read(
        self, question: str, documents: Sequence[Hit], *, written: str = "", logprobs: int | None = None
    ) -> Completion:
        """The task's own prompt over `documents` (closed book without), going on after what is `written` already.

        In a conversation the user's own words are asked, after the turns before, where `question` stands for them.
        """
        talk = self.conversation
        asked = talk.last if talk and question == talk.query else question
        prompt = self.task.messages(asked, documents, self.prompts_dir)
        prompt = talk.around(prompt) if talk else prompt
        if written:
            prompt = [*prompt, Message("assistant", written)]
        return await self.generator.generate(prompt, replace(self.sampling, logprobs=logprobs))


# From None a method retrieves for itself; an empty list means closed book; otherwise it works with these documents.
Method = Callable[[str, Rag, Sequence[Hit] | None], Awaitable[Answer]]


def needs(name: str, settings: MethodsConfig) -> Needs:
    """What a backend must be able to do, so that one that cannot is refused before any work."""
    if name == "replug":
        return "tokens" if settings.replug.level == "token" else "scores"
    return "logprobs" if name in ("flare", "selfrag") else "text"


def prompt_owners(name: str) -> tuple[str, ...]:
    """Whose templates a method asks with, beside those of the example's task."""
    return (name, "qa") if name == "planner" else (name,)


def method(name: str) -> Method:
    """The method called `name`; its answers carry what they cost."""
    if name not in NAMES + CONTROLS:
        raise unknown("method", name, list(NAMES))
    plain: Method = import_module(f"wbrag.methods.{name}").answer

    async def metered(question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> Answer:
        meter, start = Meter(rag.generator, rag.retriever), time.perf_counter()
        answer = await plain(question, replace(rag, generator=meter, retriever=meter), documents)
        return replace(answer, cost=meter.cost(time.perf_counter() - start))

    return metered
