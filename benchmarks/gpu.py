"""Enrichment and search on a GPU: `python benchmarks/gpu.py [--quantization fp8] [--quick]`.

The whole enrichment, as a job runs it, at the sizes and shares of the paper's Natural Questions: one vLLM engine on
one GPU with a model of Llama 3.1 8B's shape and dummy weights, which compute as fast as real ones (`lib/paper_sized.py`
says how a reply comes about all the same). Beside it the bare engine with the same prompts and lengths, the encoder
over the corpus, and FAISS on the GPU against the same shard on the CPU.

`--quick` runs the same code anywhere, with a tiny model: there a pass shows what a call costs the host.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lib.bare_engine import Replay, replay
from lib.enrichment import Ask, Pass, one_pass, passages, stages
from lib.measured import Figure, arguments, record
from lib.nvidia import Watched, watched
from lib.paper_sized import LLAMA_8B, TINY, Architecture, Script, Scripted, sizes, write_questions
from lib.timing import in_turn
from lib.vectors import DIMENSION, draw, shard_blocks

from wbrag.core.config import Config, load
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import Shard, build_once
from wbrag.workspace import Workspace

PAPER = 61.0  # calls per second and GPU: 220K in half an hour on two H200, its cost paragraph
K, ROUNDS, TOGETHER = 5, 5, (1, 32, 128)


@dataclass(frozen=True)
class Size:
    architecture: Architecture
    examples: int
    passages: int
    in_flight: int  # requests
    vectors: int
    factories: tuple[str, ...]


WHOLE = Size(LLAMA_8B, 4000, 20_000, 512, 1_000_000, ("SQfp16", "IVF1024,SQfp16"))
QUICK = Size(TINY, 100, 300, 128, 50_000, ("SQfp16", "IVF64,SQfp16"))


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--quantization", help="vLLM's name of one, such as fp8; default: bfloat16 weights")
    parser.add_argument("--examples", type=int, help=f"default: {WHOLE.examples:,}, and {QUICK.examples} with --quick")
    given = parser.parse_args()
    if not (given.quick or torch.cuda.is_available()):
        raise SystemExit("expected a GPU, found none: run this where there is one, or see that it works with --quick")
    size = QUICK if given.quick else WHOLE
    size = replace(size, examples=given.examples or size.examples)
    factories = size.factories if given.quick or faiss_sees_a_gpu() else ()
    with tempfile.TemporaryDirectory() as scratch, watched() as gpu:
        figures = [
            *enrichment(size, Path(scratch), {"quantization": given.quantization} if given.quantization else {}, gpu),
            *(figure for factory in factories for figure in searching(size, Path(scratch), factory)),
        ]
    about = (
        f"{size.examples:,} examples and {size.passages:,} passages of the paper's sizes, "
        f"{size.architecture.parameters / 1e9:.2f}B parameters in dummy weights"
        f"{f' as {given.quantization}' if given.quantization else ''}, {gpu.name or 'no GPU'}."
    )
    record("gpu", "python benchmarks/gpu.py", figures, about, quick=given.quick, note=given.note)


# -- enrichment ------------------------------------------------------------------------------------------------------


def enrichment(size: Size, folder: Path, options: dict[str, Any], gpu: Watched) -> Iterator[Figure]:
    model = size.architecture.write(folder / "model")
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
        ours = one_pass(workspace, examples, folder / "verdicts", through=lambda engines: Scripted(engines, script))
        ended = time.perf_counter()
        workspace.close()
        asked = stages(ours.rows, passages(workspace), workspace.config)
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
        2e-12 * size.architecture.parameters * tokens,
        "TFLOP/s",
    )
    for part, seconds in ours.cpu.most_common():
        yield Figure(f"CPU of {part}", seconds / bare.calls * 1e3, "ms a call")


# -- search ----------------------------------------------------------------------------------------------------------


def faiss_sees_a_gpu() -> bool:
    import faiss

    sees: bool = getattr(faiss, "get_num_gpus", lambda: 0)() > 0  # faiss-cpu has no such function
    if not sees:
        print("FAISS sees no GPU, so its search is left out: requirements/gpu.txt has the faiss-gpu for it")
    return sees


def searching(size: Size, folder: Path, factory: str) -> Iterator[Figure]:
    """The shard of `wbrag index` on the CPU and on the GPU, the same queries in turn."""
    files = build_once(folder, f"searched-{factory}", factory, DIMENSION, shard_blocks(size.vectors), size.vectors)
    manifest = Manifest("", "", DIMENSION, factory, (files,))
    cpu, gpu = (Shard(folder, files, manifest, "base", gpu=gpu) for gpu in (False, True))
    if gpu.on_gpu is None:
        print(f"{factory}: no GPU for FAISS, the same shard twice shows that this works")
    name = f"{factory}, {size.vectors:,} vectors"
    for count in TOGETHER:
        queries = draw(count, stream=9_000_000)
        here, there = in_turn(partial(cpu.search, queries, K), partial(gpu.search, queries, K), ROUNDS)
        alike = [
            len({hit.id for hit in a} & {hit.id for hit in b}) / K
            for a, b in zip(cpu.search(queries, K), gpu.search(queries, K))
        ]
        yield Figure(f"{name}, {count} at once: CPU / GPU", here / there)
        yield Figure(f"{name}, {count} at once: GPU", there * 1e3, "ms")
        yield Figure(f"{name}, {count} at once: hits that both find", sum(alike) / count, "of all")


if __name__ == "__main__":
    main()
