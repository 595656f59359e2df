"""The nouns of wbrag. Every other module speaks in these; none of them knows about Ray, vLLM or FAISS."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Origin = Literal["base", "writeback"]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Passage:
    """One retrievable text. `text` excludes the title. `start`/`end` are character offsets into the source document."""

    id: str
    title: str
    text: str
    source: str = ""
    updated_at: str = ""
    trust: float = 1.0
    start: int = 0
    end: int = 0

    @property
    def contents(self) -> str:
        """What is embedded and hashed: FlashRAG's `title\\ntext`."""
        return f"{self.title}\n{self.text}"

    @property
    def content_hash(self) -> str:
        return content_hash(self.contents)


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled question. `task` names an entry of `wbrag.tasks`."""

    id: str
    question: str
    golden_answers: tuple[str, ...]
    task: str = "qa"
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage; `score` is the inner product of L2-normalised vectors, in [-1, 1]."""

    id: str
    title: str
    text: str
    score: float
    origin: Origin = "base"

    @property
    def content_hash(self) -> str:
        return content_hash(f"{self.title}\n{self.text}")


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


Messages = Sequence[Message]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. Temperature 0 is greedy; `logprobs` asks for that many alternatives per token."""

    max_tokens: int = 32
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What the generator wrote. `logprobs` are nats, one per output token, empty unless asked for."""

    text: str
    tokens: int = 0
    prompt_tokens: int = 0
    finish_reason: str = "stop"
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[dict[str, float], ...] = ()


class Generator(Protocol):
    """A language model behind one async door; see `wbrag.generators` for the implementations."""

    @property
    def fingerprint(self) -> str:
        """Model, revision and engine settings: what must be equal for answers to be comparable."""
        ...

    async def start(self) -> None:
        """Load the model, or ask the endpoint one small question, so that a bad setting is refused before any work."""
        ...

    async def generate(self, prompt: Messages, sampling: Sampling) -> Completion: ...

    async def score(self, prompt: Messages, continuation: str) -> float:
        """log p(continuation | prompt) in nats, summed over the continuation's tokens."""
        ...

    async def close(self) -> None: ...


class Retriever(Protocol):
    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` hits of each query, best first; ties by id."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A method's reply, with what it looked at and what it cost."""

    text: str
    hits: tuple[Hit, ...] = ()
    calls: int = 1
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence that stands verbatim in passage `passage_id`."""

    passage_id: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A write-back passage with its whole provenance. Its id is the hash of its contents."""

    title: str
    text: str
    question_ids: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]  # (passage id, content hash at the time of writing)
    evidence: tuple[Evidence, ...]
    scores: dict[str, float] = field(default_factory=dict, hash=False)
    model: str = ""
    prompt_version: str = ""
    config_fingerprint: str = ""
    created_at: str = ""

    @property
    def contents(self) -> str:
        return f"{self.title}\n{self.text}"

    @property
    def id(self) -> str:
        return "wb-" + content_hash(self.contents)[:16]


def content_hash(contents: str) -> str:
    """sha256 of the UTF-8 text, as hex."""
    return hashlib.sha256(contents.encode()).hexdigest()
