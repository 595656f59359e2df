"""What the benchmarks of enrichment share: the demo, one pass of wbrag over it, and its prompts by stage."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]

from lib.processes import cpu_of
from wbrag.core.config import Config, load
from wbrag.core.io.parquet import corpus_files, read_all
from wbrag.core.prompts import render
from wbrag.core.reading import read_answer
from wbrag.core.tasks import as_data, reference, task
from wbrag.core.types import Example, Generator, Hit, Message, Passage, unit_id
from wbrag.enrich.distil import EVIDENCE_TOKENS
from wbrag.enrich.enrich import Known
from wbrag.enrich.row_jobs import EnrichJob, Handles, RowJob
from wbrag.evaluation.demo_world import prepare
from wbrag.units.layout import Layout
from wbrag.workspace import Workspace

Row = dict[str, Any]
PARTS = ("EngineCore", "EngineActor", "DispatchActor", "EncoderActor", "ShardActor")
STAGES = ("closed book", "open book", "solo", "evidence", "rewrite", "round trip")


class Ask(NamedTuple):
    """One prompt of one example, the tokens it may be answered with, and what wbrag's pass was answered."""

    id: str
    messages: list[Message]
    max_tokens: int
    reply: str | None = None


@dataclass
class Pass:
    """One pass of wbrag: its verdicts, and seconds for what starts once and for the rows.

    `cpu` are CPU seconds for the rows by process.
    """

    rows: list[Row]
    start_s: float
    rows_s: float
    cpu: Counter[str]


@dataclass(frozen=True)
class WrappedJob:
    """The work of `job`, whose generator is what `wrap` makes of it."""

    job: EnrichJob
    wrap: Callable[[Generator], Generator]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "job":
            raise AttributeError(name)
        return getattr(self.job, name)

    def prepare(self, handles: Handles) -> Callable[[Example, Known], Awaitable[Row]]:
        return self.job.prepare(replace(handles, generator=self.wrap(handles.generator)))

    def failed(self, example: Example, error: str) -> Row:
        return self.job.failed(example, error)


@contextmanager
def demo(folder: str | None, config: Config | None = None) -> Iterator[Workspace]:
    """The demo's corpus, indexed, and its questions; made in `folder` unless they are there."""
    with tempfile.TemporaryDirectory() as scratch, Workspace(folder or scratch, config or load()) as workspace:
        if not (workspace.path / "index" / "base.json").is_file():
            prepare(workspace.layout)
            workspace.index()
        workspace.close()  # each arm starts its own models
        yield workspace


def one_pass(
    workspace: Workspace,
    examples: Sequence[Example],
    verdicts: Path,
    core: int | None = None,
    wrapped: Callable[[EnrichJob], RowJob] = lambda job: job,
) -> Pass:
    """wbrag's enrichment of `examples` on Ray Data, its models started here; verdicts go to the folder `verdicts`.

    `core`: the one that the engine has to itself; all else of wbrag runs on the others. Rows are those of `wrapped`.
    """
    from wbrag.executor.ray.row_pass import run_rows

    others = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, others - {core})  # and what is started from here
    start = time.perf_counter()
    handles = workspace.session.handles(workspace.path / "index", workspace.indexes("none"))
    if core is not None:
        _move_engine(core)
    started = time.perf_counter()
    with cpu_of(PARTS) as cpu:
        job = wrapped(EnrichJob(workspace.config))
        records, _ = run_rows(workspace.config, job, lambda: handles, examples, verdicts)
        done = time.perf_counter()
    os.sched_setaffinity(0, others)
    return Pass([records[e.id] for e in examples], started - start, done - started, cpu)


def _move_engine(core: int) -> None:
    for process in psutil.Process().children(recursive=True):
        if "EngineCore" in " ".join(process.cmdline()):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {core})


def retained(row: Row, passages: Mapping[str, Passage]) -> list[Hit]:
    """The documents of an accepted row that passed the gate."""
    return [hit for rank, hit in enumerate(hits(row, passages)) if rank in row["retained"]]


def hits(row: Row, passages: Mapping[str, Passage]) -> list[Hit]:
    return [
        Hit(id, passages[id].title, passages[id].text, score)
        for id, score in zip(row["hit_ids"] or (), row["hit_scores"] or ())
    ]


def stages(rows: Sequence[Row], passages: Mapping[str, Passage], config: Config) -> dict[str, list[Ask]]:
    """Every prompt of wbrag's pass by stage, made again from its verdicts, with the replies that those hold."""
    found: dict[str, list[Ask]] = {name: [] for name in STAGES}
    for row in rows:
        for stage, ask in _asked(row, passages, config):
            found[stage].append(ask)
    return found


def _asked(row: Row, passages: Mapping[str, Passage], config: Config) -> Iterator[tuple[str, Ask]]:
    id, question, short = row["id"], row["question"], config.generator.max_answer_tokens
    asked = task(row["task"])
    folder = config.prompts_dir
    yield "closed book", Ask(id, asked.messages(question, [], folder), short, row["closed_book"])
    if row["s_rag"] is None:
        return
    shown = hits(row, passages)
    yield "open book", Ask(id, asked.messages(question, shown, folder), short, row["open_book"])
    if not row["accepted"]:
        return
    for hit, reply in zip(shown, row["solo"]):
        yield "solo", Ask(id, asked.messages(question, [hit], folder), short, reply)
    kept, e = retained(row, passages), config.enrich
    told = {"question": question, "documents": reference(kept), "max_sentences": str(e.max_sentences)}
    yield "evidence", Ask(id, render("evidence", folder, **told), EVIDENCE_TOKENS)
    lines = "\n".join(as_data(found["sentence"]) for found in row["evidence"])
    yield "rewrite", Ask(id, render("rewrite", folder, question=question, evidence=lines), e.max_unit_tokens)
    if row["s_unit"] is not None:
        title, text = row["unit_title"], row["unit_text"]
        unit = Hit(unit_id(f"{title}\n{text}"), title, text, 1.0)
        yield "round trip", Ask(id, asked.messages(question, [unit], folder), short)
        if len(kept) not in (1, len(shown)):
            yield "round trip", Ask(id, asked.messages(question, kept, folder), short)


def passages(store: Layout) -> dict[str, Passage]:
    """The corpus by id."""
    rows = [row for table in read_all(corpus_files(store.path / "corpus")) for row in table.to_pylist()]
    return {row["id"]: Passage(**row) for row in rows}


def differing(asked: Mapping[str, Sequence[Ask]], bare: Any) -> int:
    """Answers that the bare engine gave otherwise than wbrag's pass was answered."""
    return sum(
        ask.reply is not None and read_answer(reply) != ask.reply
        for asks, batch in zip(asked.values(), bare.batches)
        for ask, reply in zip(asks, batch.replies)
    )
