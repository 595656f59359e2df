"""Enrichment on a GPU: the whole job at the paper's sizes, and the bare engine with the same prompts and lengths."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from lib.bare_engine import Replay, replay
from lib.enrichment import Ask, Pass, WrappedJob, one_pass, passages, stages
from lib.gpu_sizes import Size
from lib.measured import Figure
from lib.nvidia import Watched
from lib.paper_sized import LLAMA_8B, TINY, Architecture, Script, Scripted, sizes, write_questions
from wbrag.core.config import Config, load
from wbrag.workspace import Workspace

PAPER = 61.0  # calls per second and GPU: 220K in half an hour on two H200, its cost paragraph


def about(size: Size) -> str:
    made = f" as {size.quantization}" if size.quantization else ""
    return (
        f"{size.examples:,} examples and {size.passages:,} passages of the paper's sizes, "
        f"{_architecture(size).parameters / 1e9:.2f}B parameters in dummy weights{made}"
    )


def _architecture(size: Size) -> Architecture:
    return {"LLAMA_8B": LLAMA_8B, "TINY": TINY}[size.model]


def figures(size: Size, folder: Path, gpu: Watched) -> Iterator[Figure]:
    options = {"quantization": size.quantization} if size.quantization else {}
    model = _architecture(size).write(folder / "model")
    write_questions(folder, size.examples, size.passages)
    on_gpu = torch.cuda.is_available()

    def config(encoder_gpus: float) -> Config:
        engine = {"load_format": "dummy", **options}
        generator = {"model": str(model), "concurrency": size.in_flight, "engine": engine}
        encoder = {"gpus_per_actor": encoder_gpus}
        return load(workspace=str(folder / "workspace"), generator=generator, encoder=encoder)

    with Workspace(folder / "workspace", config(float(on_gpu))) as workspace:  # before the engine takes the GPU
        workspace.ingest_corpus(folder / "corpus.jsonl")
        workspace.ingest_examples(folder / "train.jsonl", "paper", "train", task="nq")
        workspace.session.encoder()
        start = time.perf_counter()
        workspace.index()
        yield Figure("passages embedded and indexed", size.passages / (time.perf_counter() - start), "/s")
    script = Script(*sizes(), str(model / "tokenizer.json"))
    with Workspace(folder / "workspace", config(0.0)) as workspace:
        examples = workspace.examples("paper/train")
        scripted = partial(WrappedJob, wrap=partial(Scripted, script=script))
        ours = one_pass(workspace, examples, folder / "verdicts", wrapped=scripted)
        ended = time.perf_counter()
        workspace.close()
        asked = stages(ours.rows, passages(workspace.layout), workspace.config)
        [bare] = replay([[_as_long(asks, script) for asks in asked.values()]], workspace.config)
    yield from _speed(ours, bare, size)
    if gpu.samples:
        since = ended - ours.rows_s
        yield Figure("GPU busy", gpu.mean(1, since, ended), "%")
        yield Figure("GPU memory", gpu.mean(2, since, ended) / 1024, "GiB")
        yield Figure("GPU power", gpu.mean(3, since, ended), "W")


def _as_long(asks: Sequence[Ask], script: Script) -> list[Ask]:
    """To be answered in as many tokens as in the pass."""
    return [ask._replace(max_tokens=min(ask.max_tokens, script.tokens(script.reply(ask.messages)))) for ask in asks]


def _speed(ours: Pass, bare: Replay, size: Size) -> Iterator[Figure]:
    written = sum(batch.written for batch in bare.batches)
    rate, tokens = bare.calls / ours.rows_s, (bare.prompt - bare.cached + written) / ours.rows_s
    short = "Enrichment calls a second of one GPU, 8B, the paper's prompts"
    yield Figure("calls of the pass", bare.calls, "")
    yield Figure("examples that failed", sum(bool(row["error"]) for row in ours.rows), "", 0, "lower")
    yield Figure("examples accepted", sum(row["accepted"] for row in ours.rows) / len(ours.rows), "of all")
    yield Figure("prompt tokens of a call", bare.prompt / bare.calls, "")
    yield Figure("output tokens of a call", written / bare.calls, "")
    yield Figure("prompt tokens out of the prefix cache, bare engine", bare.cached / bare.prompt, "of all")
    yield Figure("enrichment", rate, "calls/s", target=150, short=short)
    yield Figure("the same over the paper's", rate / PAPER)
    yield Figure("one pass / bare engine, starts excluded", bare.seconds / ours.rows_s, target=0.95)
    yield Figure("start of wbrag's models and of Ray", ours.start_s, "s")
    yield Figure("start of the bare engine", bare.start_s, "s")
    yield Figure(
        "2 x parameters x tokens, those of the cache not counted",
        2e-12 * _architecture(size).parameters * tokens,
        "TFLOP/s",
    )
    for part, seconds in ours.cpu.most_common():
        yield Figure(f"CPU of {part}", seconds / bare.calls * 1e3, "ms a call")
