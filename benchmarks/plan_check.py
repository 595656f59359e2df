"""`wbrag plan` against what then happens: `python benchmarks/plan_check.py [--workspace DIR] [--quick]`.

As its user would: a small trial of the demo gives the shares and the speed of this machine, the plan says what a
larger run over other questions comes to, and that run is made and compared. Models run in this process, so that a
machine's speed is one figure; how Ray starts and shares them out is not part of the plan.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lib.enrichment import Row, demo, passages
from lib.measured import Figure, arguments, number, record

from wbrag.core.config import Config
from wbrag.core.types import Example
from wbrag.enrich.enrich import NOTHING
from wbrag.enrich.row_jobs import EnrichJob, Handles
from wbrag.evaluation.estimate import PlanRequest, plan
from wbrag.evaluation.estimate.calls import shares_of, stages, words_of
from wbrag.generators import build
from wbrag.generators.cached import CachedGenerator
from wbrag.methods.meter import Meter
from wbrag.retrieval.encoder import BatchedEncoder, Encoder
from wbrag.retrieval.index.shard import open_shards
from wbrag.retrieval.index.sizes import Texts
from wbrag.retrieval.retriever import IndexRetriever, LocalShard
from wbrag.workspace import Workspace

AT_ONCE = 32  # examples in flight
WITHIN = 0.20
SAMPLED = 8  # every so many passages tell the encoder's speed


@dataclass(frozen=True)
class Ran:
    """Verdicts of one run, and what it took."""

    rows: list[Row]
    calls: int
    prompt_tokens: int
    output_tokens: int
    seconds: float


async def runs(workspace: Workspace, encoder: Encoder, parts: Sequence[Sequence[Example]]) -> list[Ran]:
    """The enrichment of each part, one after the other, on one engine that is up before the first."""
    config, batched = workspace.config, BatchedEncoder(encoder)
    shards = [
        LocalShard(shard)
        for manifest, origin in workspace.indexes("none")
        for shard in open_shards(workspace.path / "index", manifest, origin, gpu=False)
    ]
    generator = CachedGenerator(build(config))
    await generator.start()
    try:
        return [await run(config, generator, batched, shards, part) for part in parts]
    finally:
        await generator.close()


async def run(
    config: Config,
    generator: CachedGenerator,
    encoder: BatchedEncoder,
    shards: list[LocalShard],
    part: Sequence[Example],
) -> Ran:
    meter = Meter(generator, IndexRetriever(encoder, shards))
    enrich = EnrichJob(config).prepare(Handles(encoder, shards, meter))
    room = asyncio.Semaphore(AT_ONCE)

    async def one(example: Example) -> Row:
        async with room:
            return await enrich(example, NOTHING)

    start = time.perf_counter()
    rows = await asyncio.gather(*map(one, part))
    return Ran(list(rows), meter.calls, meter.prompt_tokens, meter.output_tokens, time.perf_counter() - start)


def tokens_per_word(trial: Ran, words: float, config: Config) -> float:
    """Of the prompts of `trial`, whose words the plan's own formula counts."""
    top_k = config.enrich.top_k
    found = stages(len(trial.rows), shares_of(trial.rows, top_k), words_of(trial.rows, words), config.enrich)
    return trial.prompt_tokens / sum(stage.calls * stage.prompt_words for stage in found.values())


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def off(name: str, told: float, found: float, unit: str) -> Figure:
    """How far the plan was from what happened, as a share of it."""
    title = f"{name}: told {number(told)} {unit}, found {number(found)}, off by"
    return Figure(title, abs(told / found - 1), "", target=WITHIN, better="lower")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--workspace", help="a folder for the demo's indexed corpus, kept between runs")
    given = parser.parse_args()
    small, large = (24, 48) if given.quick else (100, 300)
    with demo(given.workspace) as workspace:
        config, corpus = workspace.config, list(passages(workspace.layout).values())
        texts = Texts(*(mean([len(getattr(p, part).encode()) for p in corpus]) for part in ("id", "title", "text")))
        words = mean([len(f"{p.title} {p.text}".split()) for p in corpus])
        written = {
            name: sum(f.stat().st_size for f in (workspace.path / "index").glob(f"base-*/{name}"))
            for name in ("vectors.faiss", "passages.arrow")
        }
        encoder = Encoder(config.encoder)
        chosen = workspace.examples("demo/train", small + large)
        trial, whole = asyncio.run(runs(workspace, encoder, (chosen[:small], chosen[small:])))
    contents = [p.contents for p in corpus][: 128 if given.quick else None]
    calls_per_second = trial.calls / trial.seconds
    passages_per_second, embedding_s = embedding(encoder, contents)
    asked = PlanRequest(
        examples=len(whole.rows),
        passages=len(corpus),
        model="embedded",
        calls_per_second=calls_per_second,
        passages_per_second=passages_per_second,
        passage_words=words,
        texts=texts,
        tokens_per_word=tokens_per_word(trial, words, config),
        trial=trial.rows,
    )
    told: dict[str, Any] = {row["what"]: row["value"] for row in plan(asked, config)}
    compared = [
        off("generator calls", told["calls"], whole.calls, "calls"),
        off("prompt tokens", told["prompt tokens"], whole.prompt_tokens, "tokens"),
        off("output tokens", told["output tokens"], whole.output_tokens, "tokens"),
        off("enrichment", told["calls"] / calls_per_second, whole.seconds, "s"),
        off("index in memory", told["index in memory"], written["vectors.faiss"], "bytes"),
        off("texts on disk", told["texts, on disk"], written["passages.arrow"], "bytes"),
        off("embedding", len(contents) / passages_per_second, embedding_s, "s"),
    ]
    worst = max(figure.value for figure in compared)
    figures = [
        Figure("calls per second here", calls_per_second, "calls/s"),
        Figure("passages per second here", passages_per_second, "passages/s"),
        *compared,
        Figure(
            "the plan's largest error", worst, "", target=WITHIN, better="lower", short="`wbrag plan`, largest error"
        ),
    ]
    about = f"A trial of {small} questions of the demo, and the plan for {large} others and its {len(corpus)} passages."
    record("plan_check", "python benchmarks/plan_check.py", figures, about, quick=given.quick, note=given.note)


def embedding(encoder: Encoder, contents: Sequence[str]) -> tuple[float, float]:
    """Passages per second of a sample, and the seconds that all take.

    The sample is timed before, between and after the quarters of the whole: this machine's speed changes by the minute.
    """
    sample, quarter = contents[::SAMPLED], -(-len(contents) // 4)
    seconds(encoder, sample)  # the first call makes the bfloat16 copy
    sampled, whole = [seconds(encoder, sample)], 0.0
    for start in range(0, len(contents), quarter):
        whole += seconds(encoder, contents[start : start + quarter])
        sampled.append(seconds(encoder, sample))
    return len(sample) * len(sampled) / sum(sampled), whole


def seconds(encoder: Encoder, contents: Sequence[str]) -> float:
    start = time.perf_counter()
    encoder.encode_passages(contents)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
