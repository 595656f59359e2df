"""Domain types and protocols: passages, examples, hits, units, `Generator`, `Retriever`.

Every other module speaks in these; none of them knows of Ray, vLLM or FAISS.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

Origin = Literal["base", "writeback"]
FoundBy = Literal["vectors", "keywords", "both", "fusion"]
Role = Literal["system", "user", "assistant"]
Int32 = Annotated[int, "int32"]  # how wide a number is kept in tables: `wbrag.core.io.schemas`
Float32 = Annotated[float, "float32"]
SourceRef = Annotated[tuple[str, str], ("id", "content_hash")]  # a passage, and the hash of its contents when read


@dataclass(frozen=True, slots=True)
class Passage:
    """One retrievable text. `text` excludes the title. `start`/`end` are character offsets into the source document.

    `groups`: who may see it, members of any of them; everybody where there are none. `metadata`: what a search can be
    narrowed by, texts, numbers, true or false, or lists of these.
    """

    id: str
    title: str
    text: str
    source: str = ""
    updated_at: str = ""
    trust: Float32 = 1.0
    start: Int32 = 0
    end: Int32 = 0
    groups: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def contents(self) -> str:
        """What is embedded and hashed: FlashRAG's `title\\ntext`."""
        return f"{self.title}\n{self.text}"

    @property
    def content_hash(self) -> str:
        return content_hash(self.contents)


class PassageText(NamedTuple):
    """The part of a passage or a unit that an index keeps."""

    id: str
    title: str
    text: str


class Witness(NamedTuple):
    """What a passage, shown alone, answers to a unit's question; `sentence` is the one of it that says so."""

    passage_id: str
    title: str
    answer: str
    sentence: str
    agrees: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled question. `task` names an entry of `wbrag.core.tasks`."""

    id: str
    question: str
    golden_answers: tuple[str, ...]
    task: str = "qa"
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)


class Ways(NamedTuple):
    """How a hit was found where vectors are not the only way.

    `similarity`: the inner product; `keywords`: BM25 over the most that a passage could have for the question, in
    [0, 1), None where words are not searched. `found_by`: by which way alone it would be among the best k; `fusion`:
    only the sum puts it there.
    """

    similarity: float
    keywords: float | None = None
    found_by: FoundBy = "vectors"


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage; hits are ranked by `score`.

    It is the inner product of L2-normalised vectors, in [-1, 1], unless `ways` says that there was more than vectors.
    """

    id: str
    title: str
    text: str
    score: float
    origin: Origin = "base"
    ways: Ways | None = None
    source: str = field(default="", compare=False)  # who wrote it, where an index knows
    metadata: dict[str, Any] | None = field(default=None, compare=False)

    @property
    def similarity(self) -> float:
        """The inner product of L2-normalised vectors."""
        return self.ways.similarity if self.ways else self.score

    def how_found(self) -> dict[str, float | str]:
        """`ways` as people are shown it: nothing where vectors alone found it."""
        return {k: v for k, v in self.ways._asdict().items() if v is not None} if self.ways else {}

    @property
    def content_hash(self) -> str:
        return content_hash(f"{self.title}\n{self.text}")


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


Messages = Sequence[Message]  # an assistant message at the end is continued, not answered
Prompt = str | Messages  # a string goes to the model as it is, without a chat template


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. Temperature 0 is greedy; `logprobs` asks for that many alternatives per token."""

    max_tokens: int = 32
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    one_line: bool = False  # nothing after the first line is wanted: a base model is stopped there


@dataclass(frozen=True, slots=True)
class Completion:
    """What the generator wrote. `logprobs` are nats, one per output token as `pieces`, empty unless asked for."""

    text: str
    tokens: int = 0
    prompt_tokens: int = 0
    finish_reason: str = "stop"
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[dict[str, float], ...] = ()
    pieces: tuple[str, ...] = ()
    thinking: str = ""  # what a thinking model wrote before; `text` is the answer alone


class NextToken(NamedTuple):
    """One way to go on: token id, its text, log-probability in nats, and whether it ends the reply."""

    id: int
    text: str
    logprob: float
    end: bool


class NextTokens(NamedTuple):
    """The likeliest next tokens, likeliest first, and how long the prompt was."""

    tokens: tuple[NextToken, ...]
    prompt_tokens: int


class Scored(NamedTuple):
    """log p of a continuation in nats, summed over its `tokens`, and how many tokens were read for it in all."""

    logprob: float
    prompt_tokens: int
    tokens: int = 0


class Generator(Protocol):
    """A language model behind one asynchronous interface; `wbrag.generators` has the implementations."""

    @property
    def fingerprint(self) -> str:
        """Model, revision and engine settings: what must be equal for answers to be comparable."""
        ...

    async def start(self) -> None:
        """Load the model, or ask the endpoint one small question, so that a bad setting is refused before any work."""
        ...

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion: ...

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        """log p(continuation | prompt); where the continuation ends is not scored."""
        ...

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        """The `top` likeliest tokens after `prompt` and the reply's token ids so far, likeliest first.

        Raises `UsageError` where the backend gives no control over single tokens.
        """
        ...

    async def decode(self, ids: Sequence[int]) -> str:
        """The text of a reply's token ids. Raises `UsageError` as `next_tokens` does."""
        ...

    async def knows(self, tokens: Sequence[str]) -> bool:
        """Whether each of `tokens` is one token of the model; False where that cannot be seen."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Streams(Protocol):
    """A generator that can hand its reply over piece by piece."""

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        """Each item holds the new text and new tokens alone; the last one has `finish_reason`, empty in the others.

        `prompt_tokens` are 0 until they are known, which is in the last item at the latest. No log-probabilities.
        Whoever stops early closes the iterator, and with it the work.
        """
        ...


class Retriever(Protocol):
    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` hits of each query, best first; ties by id."""
        ...


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer took. `calls` are the method's own, also those that a cache answers."""

    calls: Int32 = 0
    prompt_tokens: Int32 = 0
    output_tokens: Int32 = 0
    retrievals: Int32 = 0
    seconds: float = 0.0
    ends: dict[str, int] = field(default_factory=dict, hash=False)  # of replies, as `wbrag.methods.meter` names them

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.output_tokens + other.output_tokens,
            self.retrievals + other.retrievals,
            self.seconds + other.seconds,
            dict(Counter(self.ends) + Counter(other.ends)),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A method's reply, what it looked at last, what it cost, and figures of its own that a reader may want."""

    text: str
    hits: tuple[Hit, ...] = ()
    cost: Cost = Cost()
    details: dict[str, float] = field(default_factory=dict, hash=False)


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
    sources: tuple[SourceRef, ...]
    evidence: tuple[Evidence, ...]
    scores: dict[str, float] = field(default_factory=dict, hash=False)
    model: str = ""
    prompt_version: str = ""
    config_fingerprint: str = ""
    created_at: str = ""
    parent: str = ""  # the unit that a person corrected by this one
    witnesses: tuple[Witness, ...] = ()  # passages beside its sources that answered its question

    @property
    def contents(self) -> str:
        return f"{self.title}\n{self.text}"

    @property
    def id(self) -> str:
        return unit_id(self.contents)

    @property
    def drawn_from(self) -> set[str]:
        """The passages that its evidence is from; one that was kept beside them and not used is none."""
        return {evidence.passage_id for evidence in self.evidence} or {id for id, _ in self.sources}


def unit_id(contents: str) -> str:
    """The id of a unit with these contents."""
    return "wb-" + content_hash(contents)[:16]


def content_hash(contents: str) -> str:
    """sha256 of the UTF-8 text, as hex."""
    return hashlib.sha256(contents.encode()).hexdigest()
