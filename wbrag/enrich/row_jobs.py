"""Row jobs: the work on one example, as a picklable description that any executor can run.

`prepare` binds a job to the models at hand; the coroutine that it returns makes the row. No job knows where it runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from wbrag.core.config import Config
from wbrag.core.tasks import task
from wbrag.core.types import Example, Generator, Hit, Retriever, Sampling
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import Enricher, Known, Verdict, Worth, WrittenUnit, nobody, written_unit
from wbrag.enrich.round_trip import round_trip
from wbrag.enrich.rows import Kind, Row, answer_row, asked_key, failed_answer_row, unit_columns, verdict_row
from wbrag.enrich.scores import SCORING, Scorer
from wbrag.enrich.witnesses import witnesses
from wbrag.methods import Needs, Rag, method, needs
from wbrag.methods.meter import Meter
from wbrag.retrieval.adapter import Adapter, adapted
from wbrag.retrieval.blocks import BlockRetriever, Blocks
from wbrag.retrieval.encoder import TextEncoder
from wbrag.retrieval.external import open_base
from wbrag.retrieval.reranker import Reranker, RerankerModel, named, open_reranker
from wbrag.retrieval.retriever import Base, IndexRetriever, ShardSearcher


@dataclass(frozen=True)
class Searched:
    """What indexes are searched with, local or remote."""

    encoder: TextEncoder
    shards: Sequence[ShardSearcher]
    rerank: Callable[[RerankerModel], Reranker] = field(default=open_reranker, kw_only=True)  # called once for a job


@dataclass(frozen=True)
class Handles(Searched):
    """The models that a row's coroutine calls."""

    generator: Generator
    distiller: Generator | None = None  # another model that writes units
    blocks: Blocks = field(default_factory=Blocks, kw_only=True)  # questions that are searched together


class RowJob(Protocol):
    """A picklable description of the work on one row."""

    @property
    def kind(self) -> Kind: ...

    @property
    def config(self) -> Config: ...

    @property
    def retrieve(self) -> bool: ...

    @property
    def distils(self) -> bool: ...

    @property
    def needs(self) -> set[Needs]:
        """What its generator must be able to do."""
        ...

    def prepare(self, handles: Handles) -> Callable[[Example, Known], Awaitable[Row]]: ...

    def failed(self, example: Example, error: str) -> Row: ...


@dataclass(frozen=True)
class EnrichJob:
    """Algorithm 1 on one example; its row is the verdict."""

    config: Config
    method: str = "naive"
    distils: bool = True  # else verdicts alone: what helped, and no unit of it
    worth: Worth = nobody  # asked of each unit before its witnesses are
    retrieve: bool = True
    kind: Literal["enrich"] = "enrich"

    @property
    def needs(self) -> set[Needs]:
        e = self.config.enrich
        asked = {needs(self.method, self.config.methods), SCORING.get(e.gate_metric, "text")}
        return asked | {"scores"} if e.candidates else asked

    def prepare(self, handles: Handles) -> Callable[[Example, Known], Awaitable[Row]]:
        settings = self.config.enrich
        base = open_base(self.config, handles.encoder)
        retriever = _retriever(self.config, handles, base, reranker=_reranker(named(self.config.rerank), handles))

        async def run(example: Example, known: Known) -> Row:
            recording = _Recording(retriever) if base is not None else None
            rag = _rag(self.config, handles, example, settings.top_k, recording or retriever)
            distiller = _distiller(self.config, handles) if self.distils else None
            enricher = Enricher(method(self.method), rag, distiller, settings, self.worth)
            row = verdict_row(await enricher.enrich(example, known))
            kept = {"source_passages": recording.passages(row["sources"], known.hits)} if recording else {}
            return row | kept | {"asked": asked_key(example, self.config.prompts_dir)}

        return run

    def failed(self, example: Example, error: str) -> Row:
        return verdict_row(Verdict(example.id, example.question, example.task, False, "error", error=error))


@dataclass(frozen=True)
class EvaluateJob:
    """One question answered and scored. Without `retrieve` the answer is the closed-book one."""

    config: Config
    retrieve: bool = True
    method: str = "naive"
    adapter: Adapter | None = None
    reranker: RerankerModel | None = None
    sources: Mapping[str, frozenset[str]] | None = None  # unit id -> passages that it displaces
    distils: bool = False
    kind: Literal["evaluate"] = "evaluate"

    @property
    def needs(self) -> set[Needs]:
        return {needs(self.method, self.config.methods)}

    def prepare(self, handles: Handles) -> Callable[[Example, Known], Awaitable[Row]]:
        base = open_base(self.config, handles.encoder) if self.retrieve else None
        reranker = _reranker(self.reranker, handles)
        retriever = _retriever(self.config, handles, base, self.adapter, reranker, self.sources)

        async def run(example: Example, known: Known) -> Row:
            rag = _rag(self.config, handles, example, self.config.retrieval.top_k, retriever)
            answer = await method(self.method)(example.question, rag, None if self.retrieve else [])
            row = answer_row(example, answer, rag.task.score(answer.text, example.golden_answers))
            return row | {"asked": asked_key(example, self.config.prompts_dir)}

        return run

    def failed(self, example: Example, error: str) -> Row:
        return failed_answer_row(example, error)


@dataclass(frozen=True)
class DistilJob:
    """Distillation alone, from documents that somebody else chose: `metadata["documents"]` holds (id, title, text)."""

    config: Config
    round_trip: bool = False  # read the unit as its documents are, for the check of that name
    worth: Worth = nobody  # asked of each unit before its witnesses are
    retrieve: bool = False  # other documents than these, for witnesses
    distils: bool = True
    kind: Literal["distil"] = "distil"

    @property
    def needs(self) -> set[Needs]:
        return {"text"}

    def prepare(self, handles: Handles) -> Callable[[Example, Known], Awaitable[Row]]:
        settings = self.config.enrich
        distiller = _distiller(self.config, handles)
        retriever = _retriever(self.config, handles, open_base(self.config, handles.encoder))

        async def run(example: Example, known: Known) -> Row:
            documents = _given(example)
            distilled = await distiller.distil(example.id, example.question, documents)
            written, calls = written_unit(distilled, documents, task(example.task), example), distilled.calls
            if self.round_trip and example.golden_answers:
                rag = _rag(self.config, handles, example, settings.top_k, retriever)
                s = await round_trip(method("naive"), rag, Scorer(rag, "task"), example, written.unit, documents)
                read = replace(written, s_unit=s.s_unit, s_kept=s.s_kept, read_calls=s.calls)
                written, calls = read, calls + s.calls
            asks = self.config.enrich.witnesses and example.golden_answers and not task(example.task).closed
            if asks and self.worth(written, documents):
                rag = _rag(self.config, handles, example, 1, retriever)
                written = await self._witnessed(rag, example, documents, written)
                calls += written.witness_calls
            row = {"id": example.id, "question": example.question, "calls": calls, "error": ""}
            return row | unit_columns(written) | {"asked": asked_key(example, self.config.prompts_dir)}

        return run

    async def _witnessed(
        self, rag: Rag, example: Example, documents: Sequence[Hit], written: WrittenUnit
    ) -> WrittenUnit:
        meter = Meter(rag.generator, rag.retriever)
        asked = replace(rag, generator=meter), example.question, written.unit, documents, example.golden_answers
        said = await witnesses(*asked, self.config.enrich.witnesses)
        return replace(written, witnesses=said, witness_calls=meter.calls)

    def failed(self, example: Example, error: str) -> Row:
        return {"id": example.id, "question": example.question, "error": error}


class _Recording:
    """A retriever over an external base for one example, which keeps the passages that it gave."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever, self.hits = retriever, dict[str, Hit]()

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        found = await self.retriever.search(queries, k)
        self.hits |= {hit.id: hit for hits in found for hit in hits}
        return found

    def passages(self, sources: Sequence[Row], known: Sequence[Hit]) -> list[Row]:
        """The sources as they were found now, or are `known` from an earlier run."""
        found = {hit.id: hit for hit in known} | self.hits
        hits = [found[source["id"]] for source in sources]
        return [{"id": hit.id, "title": hit.title, "text": hit.text} for hit in hits]


def _retriever(
    config: Config,
    handles: Handles,
    base: Base | None,
    adapter: Adapter | None = None,
    reranker: tuple[Reranker, RerankerModel] | None = None,
    sources: Mapping[str, frozenset[str]] | None = None,
) -> Retriever:
    """One for all rows of a job, which searches a block's questions together.

    Not in a store that somebody else keeps: rows that are settled without a search ask it nothing.
    """
    encoder = adapted(handles.encoder, adapter)
    retriever = IndexRetriever(encoder, handles.shards, config.retrieval, sources, base, reranker)
    return retriever if base is not None else BlockRetriever(retriever, handles.blocks)


def _rag(config: Config, handles: Handles, example: Example, top_k: int, retriever: Retriever) -> Rag:
    sampling = Sampling(max_tokens=config.generator.max_answer_tokens, one_line=True)
    return Rag(handles.generator, retriever, task(example.task), top_k, sampling, config.prompts_dir, config.methods)


def _reranker(model: RerankerModel | None, handles: Handles) -> tuple[Reranker, RerankerModel] | None:
    return (handles.rerank(model), model) if model else None


def _distiller(config: Config, handles: Handles) -> Distiller:
    return Distiller(handles.distiller or handles.generator, handles.encoder, config.enrich, config.prompts_dir)


def _given(example: Example) -> list[Hit]:
    return [Hit(id, title, text, 0.0) for id, title, text in example.metadata["documents"]]


async def documents_of(job: RowJob, handles: Handles, example: Example) -> list[Hit]:
    """What `job` may distil for `example`: the documents that come with it, else the best that are found for it."""
    if not job.retrieve:
        return _given(example)
    rag = _rag(job.config, handles, example, 1, _retriever(job.config, handles, open_base(job.config, handles.encoder)))
    return await rag.retrieve(example.question)
