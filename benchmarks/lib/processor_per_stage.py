"""Enrichment as stages: one `ray.data.llm` processor per stage, its rows materialised before the next is built.

Prompts, gates, parsers and engine options are wbrag's own, and a question that closed book answers is not asked again
either, as in wbrag; what differs is who holds the engine, and for how long.
https://docs.ray.io/en/latest/data/working-with-llms.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import ray
from ray.data.llm import build_processor, vLLMEngineProcessorConfig

from wbrag.core.env import ENGINE
from wbrag.core.prompts import render
from wbrag.core.reading import read_answer
from wbrag.core.tasks import as_data, reference, task
from wbrag.core.types import Evidence, Example, Hit, Message
from wbrag.enrich.distil import EVIDENCE_TOKENS, Distiller
from wbrag.enrich.distil_replies import parse_evidence, parse_unit
from wbrag.enrich.gates import document_gate, utility_gate, utility_gate_is_out_of_reach
from wbrag.executor.ray.quiet import data_context, quiet_start
from wbrag.generators import model_path
from wbrag.generators.vllm import engine_options
from wbrag.retrieval.encoder import BatchedEncoder, Encoder
from wbrag.retrieval.index.shard import open_shards
from wbrag.retrieval.retriever import IndexRetriever, LocalShard
from wbrag.workspace import Workspace

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    **ENGINE,
    "HF_HUB_OFFLINE": "1",
}


class Reply(str):
    """What the model wrote, and whether the token limit cut it."""

    cut: bool = False


@dataclass
class Found:
    """What the stages have found out about one example so far; the names are those of wbrag's verdicts."""

    example: Example
    closed_book: str = ""
    open_book: str = ""
    s_nr: float | None = None
    s_rag: float | None = None
    s_doc: list[float] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    retained: list[int] = field(default_factory=list)
    accepted: bool = False
    evidence: tuple[Evidence, ...] = ()
    unit_title: str = ""
    unit_text: str = ""
    s_unit: float | None = None
    s_kept: float | None = None

    def score(self, text: str) -> float:
        return task(self.example.task).score(read_answer(text), self.example.golden_answers)

    def prompt(self, documents: Sequence[Hit]) -> list[Message]:
        return task(self.example.task).messages(self.example.question, documents)

    @property
    def kept(self) -> list[Hit]:
        return [self.hits[rank] for rank in self.retained]


@dataclass
class ProcessorPerStage:
    """The peer's run: a stage's `start_s` reaches to the first request that its engine got, `rows_s` from there on."""

    workspace: Workspace
    calls: int = 0
    start_s: float = 0.0
    rows_s: float = 0.0
    stages: list[tuple[str, float, float]] = field(default_factory=list)

    def run(self, examples: Sequence[Example], *, brief: bool = False) -> list[Found]:
        """The paper's Algorithm 1 in stages over all examples; where it should be `brief`, its two first stages."""
        self._connect()
        rows = self._stages(examples, brief)
        ray.shutdown()
        return rows

    def _stages(self, examples: Sequence[Example], brief: bool) -> list[Found]:
        rows, gate = [Found(e) for e in examples], self.workspace.config.enrich
        short = self.workspace.config.generator.max_answer_tokens
        for row, text in zip(rows, self._ask("closed book", [r.prompt([]) for r in rows], short)):
            row.closed_book, row.s_nr = read_answer(text), row.score(text)
        taus = {"tau_s": gate.tau_s, "tau_delta": gate.tau_delta}
        left = [r for r in rows if not utility_gate_is_out_of_reach(r.s_nr or 0.0, **taus)]
        encoder = self._retrieve(left)
        for row, text in zip(left, self._ask("open book", [r.prompt(r.hits) for r in left], short)):
            row.open_book, row.s_rag = read_answer(text), row.score(text)
            row.accepted = utility_gate(row.s_nr or 0.0, row.s_rag, **taus)
        if brief:
            return rows
        left = [r for r in left if r.accepted]
        solo = [(r, hit) for r in left for hit in r.hits]
        for (row, _), text in zip(solo, self._ask("solo", [r.prompt([hit]) for r, hit in solo], short)):
            row.s_doc.append(row.score(text))
        for row in left:
            row.retained = document_gate(row.s_nr or 0.0, row.s_doc, tau_doc=gate.tau_doc, n_min=gate.n_min).ranks
        self._distil(left, encoder)
        if gate.round_trip:
            self._round_trip(left, short)
        return rows

    def _distil(self, left: Sequence[Found], encoder: BatchedEncoder) -> None:
        e = self.workspace.config.enrich
        asked = [
            render(
                "evidence", question=r.example.question, documents=reference(r.kept), max_sentences=str(e.max_sentences)
            )
            for r in left
        ]
        nearest = Distiller(None, encoder, e).nearest  # type: ignore[arg-type]  # it asks no generator for this
        for row, text in zip(left, self._ask("evidence", asked, EVIDENCE_TOKENS)):
            row.evidence = parse_evidence(text, row.kept, e.max_sentences)
            if not row.evidence:
                row.evidence = asyncio.run(nearest(row.example.question, row.kept, e.fallback_sentences))
        asked = [
            render("rewrite", question=r.example.question, evidence="\n".join(as_data(s.sentence) for s in r.evidence))
            for r in left
        ]
        for row, text in zip(left, self._ask("rewrite", asked, e.max_unit_tokens)):
            row.unit_title, row.unit_text = parse_unit(text, cut=text.cut)
            if not row.unit_text:
                row.unit_title, row.unit_text = row.kept[0].title, " ".join(s.sentence for s in row.evidence)

    def _round_trip(self, left: Sequence[Found], short: int) -> None:
        """The unit alone, and the retained documents where no stage before has read just these."""
        alone = [r.prompt([Hit("", r.unit_title, r.unit_text, 1.0)]) for r in left]
        together = [r for r in left if len(r.retained) not in (1, len(r.hits))]
        texts = self._ask("round trip", [*alone, *(r.prompt(r.kept) for r in together)], short)
        for row, text in zip(left, texts):
            row.s_unit = row.score(text)
            row.s_kept = row.s_rag if len(row.retained) == len(row.hits) else row.s_doc[row.retained[0]]
        for row, text in zip(together, texts[len(left) :]):
            row.s_kept = row.score(text)

    def _connect(self) -> None:
        begun = time.perf_counter()
        data_context()
        with quiet_start():  # as many CPUs as wbrag tells Ray of: a processor's actors need more than two
            ray.init(address="local", num_cpus=8, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        self.start_s += time.perf_counter() - begun

    def _retrieve(self, rows: Sequence[Found]) -> BatchedEncoder:
        """The best passages for all questions at once, with encoder and index in this process."""
        begun = time.perf_counter()
        workspace = self.workspace
        encoder = BatchedEncoder(Encoder(workspace.config.encoder))
        shards = [
            LocalShard(s) for m, o in workspace.indexes("none") for s in open_shards(workspace.path / "index", m, o)
        ]
        retriever = IndexRetriever(encoder, shards)
        opened = time.perf_counter()
        questions = [row.example.question for row in rows]
        for row, hits in zip(rows, asyncio.run(retriever.search(questions, workspace.config.enrich.top_k))):
            row.hits = hits
        self._count("retrieval", begun, opened)
        return encoder

    def _ask(self, stage: str, prompts: Sequence[Sequence[Message]], max_tokens: int) -> list[Reply]:
        """One processor over `prompts`: built, run and materialised."""
        begun = time.perf_counter()
        generator, seed = self.workspace.config.generator, self.workspace.config.seed
        path = model_path(generator)
        engine = engine_options(generator, path, seed)
        engine = {"distributed_executor_backend": "mp"} | engine
        engine["disable_log_stats"] = False  # they say when it began
        engine.pop("model")
        processor = build_processor(
            vLLMEngineProcessorConfig(
                model_source=path,
                engine_kwargs=engine,
                runtime_env={"env_vars": ENVIRONMENT},
                placement_group_config={"bundle_per_worker": {"CPU": 1, "GPU": 0}},
                log_engine_metrics=False,
            ),
            preprocess=lambda row: {
                "messages": row["messages"],
                "sampling_params": {"max_tokens": max_tokens, "temperature": 0.0, "seed": seed},
            },
            postprocess=lambda row: {
                "number": row["number"],
                "text": row["generated_text"],
                "tokens": row["num_generated_tokens"],
                "arrived": row["metrics"]["arrival_time"],
            },
        )
        rows = [{"number": i, "messages": [asdict(m) for m in prompt]} for i, prompt in enumerate(prompts)]
        clock = time.time() - time.perf_counter()
        replies = sorted(processor(ray.data.from_items(rows)).materialize().take_all(), key=lambda row: row["number"])
        self.calls += len(replies)
        self._count(stage, begun, min(row["arrived"] for row in replies) - clock)
        found = []
        for row in replies:
            found.append(Reply(row["text"]))
            found[-1].cut = row["tokens"] >= max_tokens
        return found

    def _count(self, stage: str, begun: float, first: float) -> None:
        done = time.perf_counter()
        self.stages.append((stage, first - begun, done - first))
        self.start_s, self.rows_s = self.start_s + first - begun, self.rows_s + done - first
