"""Requests and replies of the gateway, whoever asks, and what it answers from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from wbrag.core.types import Answer, Message, Sampling
from wbrag.methods.conversation import Conversation
from wbrag.units.releases import Release


class CurrentRelease(Protocol):
    """What answers now; `wbrag.serving.release_watcher.ReleaseWatcher` is one."""

    @property
    def release(self) -> Release | None: ...

    @property
    def refused(self) -> dict[str, str]: ...

    @property
    def ready(self) -> bool: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def refresh(self) -> None: ...


@dataclass(frozen=True)
class AnswerRequest:
    """A question that keeps within the operator's bounds. `release` None: the one in use."""

    question: str
    method: str
    task: str
    top_k: int
    sampling: Sampling
    release: str | None = None
    traffic: bool = True  # a question tried out at the desk leaves no row
    messages: tuple[Message, ...] = ()  # for the model as they are: nothing is retrieved
    talk: Conversation | None = None  # around the question, which is its last turn
    filter: str = ""  # of metadata, as `wbrag.core.allowed.checked_filter` gives it


@dataclass(frozen=True)
class Caller:
    """Whose request it is, what its answer is rated by, when (on the loop's clock) it is too late, and what it may see.

    `sees`: groups whose documents the caller may see, None for all.
    """

    request_id: str  # the client's own, where it gave one
    answer_id: str
    name: str
    deadline: float
    sees: frozenset[str] | None


@dataclass(frozen=True)
class Reply:
    answer: Answer
    release: Release
    finish_reason: str
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    query: str = ""  # what was searched for, where that is not the question
