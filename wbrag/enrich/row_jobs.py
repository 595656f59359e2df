"""What is done with one example, and the row it leaves: the part of enrichment and evaluation that hosts share."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.config import Config
from wbrag.core.io.files import Location, file_in_one_step, listed
from wbrag.core.tasks import task
from wbrag.core.types import Example, Generator, Hit, Sampling
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import Enricher, Verdict, unit_fields
from wbrag.enrich.round_trip import round_trip
from wbrag.enrich.scores import SCORING, Scorer
from wbrag.methods import Needs, Rag, method, needs
from wbrag.retrieval.encoder import TextEncoder, Vectors
from wbrag.retrieval.external import open_base
from wbrag.retrieval.retriever import Base, IndexRetriever, ShardSearcher

Record = dict[str, Any]
_text, _number, _flag = pa.string(), pa.float64(), pa.bool_()
_pair = pa.struct([("id", _text), ("content_hash", _text)])
_evidence = pa.struct([("passage_id", _text), ("sentence", _text)])
_passage = pa.struct([("id", _text), ("title", _text), ("text", _text)])

UNIT_FIELDS = [
    ("sources", pa.list_(_pair)),
    ("unit_title", _text),
    ("unit_text", _text),
    ("evidence", pa.list_(_evidence)),
    ("evidence_fallback", _flag),
    ("rewrite_fallback", _flag),
    ("source_words", pa.int32()),
    ("unit_words", pa.int32()),
    ("s_unit", _number),
    ("s_kept", _number),
    ("answer_in_unit", _flag),
    ("answer_in_sources", _flag),
    ("calls", pa.int32()),
    ("error", _text),
]
VERDICTS = pa.schema(
    [
        ("id", _text),
        ("question", _text),
        ("task", _text),
        ("accepted", _flag),
        ("reason", _text),
        ("s_nr", _number),
        ("s_rag", _number),
        ("s_doc", pa.list_(_number)),
        ("closed_book", _text),
        ("open_book", _text),
        ("solo", pa.list_(_text)),
        ("hit_ids", pa.list_(_text)),
        ("hit_scores", pa.list_(_number)),
        ("retained", pa.list_(pa.int32())),
        ("fallback", _flag),
        *UNIT_FIELDS,
        ("source_passages", pa.list_(_passage)),  # where the corpus is elsewhere
    ]
)
ANSWERS = pa.schema(
    [
        ("id", _text),
        ("question", _text),
        ("golden_answers", pa.list_(_text)),
        ("prediction", _text),
        ("score", _number),
        ("hit_ids", pa.list_(_text)),
        ("hit_scores", pa.list_(_number)),
        ("hit_origins", pa.list_(_text)),
        ("calls", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("retrievals", pa.int32()),
        ("seconds", _number),
        ("details", _text),
        ("error", _text),
    ]
)
UNITS = pa.schema([("id", _text), ("question", _text), *UNIT_FIELDS])
RECORD_SCHEMAS = {"enrich": VERDICTS, "evaluate": ANSWERS, "distil": UNITS}


@dataclass(frozen=True)
class Handles:
    """The models that a row's coroutine calls, local or remote."""

    generator: Generator
    encoder: TextEncoder
    shards: Sequence[ShardSearcher]
    sources: Mapping[str, frozenset[str]] | None = None  # unit id -> passages that it displaces


class RowJob(Protocol):
    """A picklable description of the work on one row."""

    @property
    def kind(self) -> Literal["enrich", "evaluate", "distil"]: ...

    @property
    def config(self) -> Config: ...

    @property
    def retrieve(self) -> bool: ...

    @property
    def needs(self) -> set[Needs]:
        """What its generator must be able to do."""
        ...

    def prepare(self, handles: Handles) -> Callable[[Example], Awaitable[Record]]: ...

    def failed(self, example: Example, error: str) -> Record: ...


@dataclass(frozen=True)
class EnrichJob:
    """Algorithm 1 on one example; its row is the verdict."""

    config: Config
    method: str = "naive"
    retrieve: bool = True
    kind: Literal["enrich"] = "enrich"

    @property
    def needs(self) -> set[Needs]:
        return {needs(self.method, self.config.methods), SCORING.get(self.config.enrich.gate_metric, "text")}

    def prepare(self, handles: Handles) -> Callable[[Example], Awaitable[Record]]:
        settings = self.config.enrich
        base = open_base(self.config, handles.encoder)

        async def run(example: Example) -> Record:
            seen = _Seen(base) if base is not None else None
            rag = _rag(self.config, handles, example, settings.top_k, seen)
            distiller = Distiller(handles.generator, handles.encoder, settings, self.config.prompts_dir)
            row = verdict_row(await Enricher(method(self.method), rag, distiller, settings).enrich(example))
            return row | {"source_passages": seen.passages(row["sources"])} if seen else row

        return run

    def failed(self, example: Example, error: str) -> Record:
        return verdict_row(Verdict(example.id, example.question, example.task, False, "error", error=error))


@dataclass(frozen=True)
class EvaluateJob:
    """One question answered and scored. Without `retrieve` the answer is the closed-book one."""

    config: Config
    retrieve: bool = True
    method: str = "naive"
    kind: Literal["evaluate"] = "evaluate"

    @property
    def needs(self) -> set[Needs]:
        return {needs(self.method, self.config.methods)}

    def prepare(self, handles: Handles) -> Callable[[Example], Awaitable[Record]]:
        base = open_base(self.config, handles.encoder) if self.retrieve else None

        async def run(example: Example) -> Record:
            rag = _rag(self.config, handles, example, self.config.retrieval.top_k, base)
            answer = await method(self.method)(example.question, rag, None if self.retrieve else [])
            return {
                **_answer_head(example),
                "prediction": answer.text,
                "score": rag.task.score(answer.text, example.golden_answers),
                "hit_ids": [h.id for h in answer.hits],
                "hit_scores": [round(h.score, 6) for h in answer.hits],
                "hit_origins": [h.origin for h in answer.hits],
                **asdict(answer.cost),
                "details": json.dumps(answer.details),
                "error": "",
            }

        return run

    def failed(self, example: Example, error: str) -> Record:
        return {**_answer_head(example), "prediction": "", "score": 0.0, "error": error}


@dataclass(frozen=True)
class DistilJob:
    """Distillation alone, from documents that somebody else chose: `metadata["documents"]` holds (id, title, text)."""

    config: Config
    round_trip: bool = False  # read the unit as its documents are, for the check of that name
    retrieve: bool = False
    kind: Literal["distil"] = "distil"

    @property
    def needs(self) -> set[Needs]:
        return {"text"}

    def prepare(self, handles: Handles) -> Callable[[Example], Awaitable[Record]]:
        settings = self.config.enrich
        distiller = Distiller(handles.generator, handles.encoder, settings, self.config.prompts_dir)

        async def run(example: Example) -> Record:
            documents = [Hit(id, title, text, 0.0) for id, title, text in example.metadata["documents"]]
            unit = await distiller.distil(example.question, documents)
            row = {"id": example.id, "question": example.question, "calls": unit.calls, "error": ""}
            fields = unit_fields(unit, documents, task(example.task), example)
            evidence = [asdict(e) for e in unit.evidence]
            row |= fields | {"sources": _pairs(fields["sources"]), "evidence": evidence}
            if self.round_trip and example.golden_answers:
                rag, shown = _rag(self.config, handles, example, settings.top_k), Hit("", unit.title, unit.text, 1.0)
                s = await round_trip(method("naive"), rag, Scorer(rag, "task"), example, shown, documents)
                row |= {"s_unit": s.s_unit, "s_kept": s.s_kept, "calls": unit.calls + s.calls}
            return row

        return run

    def failed(self, example: Example, error: str) -> Record:
        return {"id": example.id, "question": example.question, "error": error}


def _pairs(sources: Sequence[tuple[str, str]]) -> list[Record]:
    return [{"id": id, "content_hash": digest} for id, digest in sources]


def verdict_row(verdict: Verdict) -> Record:
    row = asdict(verdict)
    row["sources"] = _pairs(verdict.sources)
    return row


class _Seen:
    """An outside `Base` for one example, and the passages that it gave."""

    def __init__(self, base: Base) -> None:
        self.base, self.hits = base, dict[str, Hit]()

    async def search(self, queries: Sequence[str], vectors: Vectors, k: int) -> list[list[Hit]]:
        found = await self.base.search(queries, vectors, k)
        self.hits |= {hit.id: hit for hits in found for hit in hits}
        return found

    def passages(self, sources: Sequence[Record]) -> list[Record]:
        hits = [self.hits[source["id"]] for source in sources]
        return [{"id": hit.id, "title": hit.title, "text": hit.text} for hit in hits]


def _rag(config: Config, handles: Handles, example: Example, top_k: int, base: Base | None = None) -> Rag:
    retriever = IndexRetriever(handles.encoder, handles.shards, config.retrieval, handles.sources, base)
    sampling = Sampling(max_tokens=config.generator.max_answer_tokens)
    return Rag(handles.generator, retriever, task(example.task), top_k, sampling, config.prompts_dir, config.methods)


def _answer_head(example: Example) -> Record:
    return {"id": example.id, "question": example.question, "golden_answers": list(example.golden_answers)}


def write_rows(folder: Location, kind: str, rows: Sequence[dict[str, Any]], name: str | None = None) -> None:
    """Add `rows` to the output folder as one file, which takes the place of an earlier one of the same `name`."""
    with file_in_one_step(folder / f"{name or uuid4().hex}.parquet") as scratch:
        pq.write_table(pa.Table.from_pylist(list(rows), RECORD_SCHEMAS[kind]), scratch, compression="zstd")


def read_rows(folder: Location) -> dict[str, dict[str, Any]]:
    """Every finished row by id. A row that ended in an error counts only where no other run got it right.

    Of several that did the first by file name counts, of several that did not the last: no clock decides.
    """
    from wbrag.core.io.parquet import read_all

    rows: dict[str, dict[str, Any]] = {}
    for table in read_all(listed(folder, "*.parquet")):
        for row in table.to_pylist():
            if row["id"] not in rows or rows[row["id"]]["error"]:
                rows[row["id"]] = row
    return rows
