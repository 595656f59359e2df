"""The RAG endpoint against bare endpoints over the same model: `python benchmarks/serving.py [--quick]`.

`wbrag serve` finds the documents itself. `ray.serve.llm`'s own app and `vllm serve`, with the same engine options, are
sent the finished prompts: the same documents in the same words. All three run one after the other on the same cores,
which the client shares. The model is the embedded one with its end token taken out of its settings, so that every
answer has as many tokens as are asked for. Three loads: short answers in a closed loop (what it can take), the same at
a steady rate of half of that (what a user waits), and long answers in a closed loop (a model that has more to do).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lib.endpoints import Endpoint, rag, ray_llm, unending, vllm_serve
from lib.load import Body, Took, closed, steady
from lib.measured import Figure, arguments, record

from wbrag.core.config import Config, load
from wbrag.core.env import openmp
from wbrag.core.reading import read_answer
from wbrag.core.tasks import task
from wbrag.core.types import Hit
from wbrag.data.demo.facts import examples
from wbrag.evaluation.demo_world import prepare
from wbrag.generators.openai_wire import chat_messages
from wbrag.retrieval.encoder import Encoder
from wbrag.workspace import Workspace

SHORT, LONG = 6, 128  # tokens of an answer; the demo's own answers have about six
CLIENTS = 16
TOP_K, SEED = 5, 0
LEAST_SHARE = {SHORT: 0.85, LONG: 0.9}
MOST_MS = 25.0  # of p95, and of CPU
Start = Callable[[Path, Path, Path], AbstractContextManager[Endpoint]]


@dataclass(frozen=True)
class Size:
    """How many requests a load has; the open one as many as fit into `steady_s` seconds."""

    short: int = 400
    long: int = 160
    steady_s: float = 20.0
    warm: int = 48


WHOLE, QUICK = Size(), Size(short=64, long=32, steady_s=5.0, warm=16)


@dataclass(frozen=True)
class Measured:
    short: Took
    long: Took
    steady: Took


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--workspace", type=Path, help="an indexed workspace of the demo; default: one is made")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no endpoint outlives a run that is broken off
    size = QUICK if args.quick else WHOLE
    with tempfile.TemporaryDirectory(prefix="wbrag-serving-") as scratch:
        folder = Path(scratch)
        workspace, model, log = (
            args.workspace or _indexed(folder / "workspace"),
            unending(folder / "model"),
            folder / "log",
        )
        found = _measure(workspace.resolve(), model, log, size)
    record("serving", "python benchmarks/serving.py", *_told(*found), quick=args.quick, note=args.note)


def _indexed(folder: Path) -> Path:
    with Workspace(folder) as workspace:
        prepare(workspace.layout)
        workspace.index()
    return folder


def _measure(workspace: Path, model: Path, log: Path, size: Size) -> tuple[dict[str, Measured], float]:
    """The three endpoints, the RAG one first: it says which documents the others' prompts hold, and at what rate."""
    sets = examples()
    questions = [e.question for half in ("reworded", "new_facts") for e in sets[half]]
    random.Random(SEED).shuffle(questions)
    found: dict[str, Measured] = {}
    encoder_ms = _apart(_encoder_ms, load(workspace=str(workspace)), questions)
    with rag(workspace, model, log) as endpoint:
        prompts = _prompts(endpoint, questions)
        asked = [[{"role": "user", "content": question}] for question in questions]
        found["rag"] = _loads(endpoint, asked, size, None)
    rate = found["rag"].short.rate / 2
    bare: dict[str, Start] = {"ray": ray_llm, "vllm": vllm_serve}
    for name, start in bare.items():
        with start(workspace, model, log) as endpoint:
            found[name] = _loads(endpoint, prompts, size, rate)
        _check_same(found["rag"], found[name])
    return found, encoder_ms


def _apart(work: Callable[..., float], *arguments: Any) -> float:
    """In a process of its own, whose threads are those of a replica."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def _encoder_ms(config: Config, questions: Sequence[str]) -> float:
    """CPU of one question's vector, so many at once as there are clients: what the endpoint spends at the least."""
    os.environ.update(openmp())
    encoder = Encoder(config.encoder)
    encoder.encode_queries(questions[:CLIENTS])
    begun = time.process_time()
    for start in range(0, len(questions), CLIENTS):
        encoder.encode_queries(questions[start : start + CLIENTS])
    return (time.process_time() - begun) / len(questions) * 1e3


def _prompts(endpoint: Endpoint, questions: Sequence[str]) -> list[list[Body]]:
    """What the endpoint sends to its model for each question."""
    searches = [{"path": "/v1/search", "body": {"query": question, "k": TOP_K}} for question in questions]
    replies = closed(endpoint, searches, CLIENTS).replies
    hits = [[Hit(h["id"], h["title"], h["text"], h["score"], h["origin"]) for h in reply["hits"]] for reply in replies]
    return [chat_messages(task("qa").messages(question, found)) for question, found in zip(questions, hits)]


def _loads(endpoint: Endpoint, prompts: Sequence[Any], size: Size, rate: float | None) -> Measured:
    def bodies(start: int, count: int, tokens: int) -> list[Body]:
        fixed = {"model": endpoint.model, "max_tokens": tokens, "temperature": 0.0, "seed": SEED}
        return [{"body": {**fixed, "messages": prompts[i % len(prompts)]}} for i in range(start, start + count)]

    closed(endpoint, bodies(0, size.warm, SHORT), CLIENTS)
    short = closed(endpoint, bodies(size.warm, size.short, SHORT), CLIENTS)
    long = closed(endpoint, bodies(0, size.long, LONG), CLIENTS)
    rate = rate or short.rate / 2
    return Measured(short, long, steady(endpoint, bodies(0, max(20, int(rate * size.steady_s)), SHORT), rate))


def _check_same(one: Measured, other: Measured) -> None:
    """Both read the same prompts and gave the same answers; raises `SystemExit` where they did not."""
    pairs = list(zip(one.short.replies, other.short.replies))
    lengths = [(a["usage"]["prompt_tokens"], b["usage"]["prompt_tokens"]) for a, b in pairs]
    if any(a != b for a, b in lengths):
        raise SystemExit("expected the same prompts at every endpoint, found other lengths: see `_prompts`")
    same = sum(_text(a) == read_answer(_text(b)) for a, b in pairs)
    if same < 0.98 * len(pairs):  # sums in another order may round to another token
        raise SystemExit(f"expected the same answers at every endpoint, found {same} of {len(pairs)}")


def _text(reply: Body) -> str:
    return str(reply["choices"][0]["message"]["content"])


def _told(found: dict[str, Measured], encoder_ms: float) -> tuple[list[Figure], str]:
    ours = found["rag"]
    names = {"rag": "wbrag serve", "ray": "ray.serve.llm", "vllm": "vllm serve"}
    figures: list[Figure] = []
    for other in ("ray", "vllm"):
        bare, name = found[other], names[other]
        figures += [
            Figure(
                f"throughput over {name}, {SHORT} tokens",
                ours.short.rate / bare.short.rate,
                target=LEAST_SHARE[SHORT],
                short=f"RAG endpoint's throughput over {name}'s, retrieval included, answers of {SHORT} tokens",
            ),
            Figure(
                f"throughput over {name}, {LONG} tokens",
                ours.long.rate / bare.long.rate,
                target=LEAST_SHARE[LONG],
                short=f"The same, answers of {LONG} tokens",
            ),
            Figure(
                f"p95 above {name}'s at a steady rate",
                ours.steady.percentile(95) - bare.steady.percentile(95),
                "ms",
                MOST_MS,
                "lower",
                short=f"Its p95 above {name}'s",
            ),
        ]
    outside = sum(seconds for part, seconds in ours.short.cpu.items() if part not in ("EngineCore", "Worker", "client"))
    figures += [
        Figure(
            "CPU of a short answer outside engine and encoder",
            outside / len(ours.short.replies) * 1e3 - encoder_ms,
            "ms",
            MOST_MS,
            "lower",
            short="The endpoint's CPU outside engine and encoder, answers of 6 tokens",
        ),
        Figure(f"CPU of a question's vector, {CLIENTS} at once", encoder_ms, "ms"),
    ]
    for key, name in names.items():
        for kind, took in (("short", found[key].short), ("long", found[key].long), ("steady", found[key].steady)):
            figures.append(Figure(f"{name}, {kind}: requests per second", took.rate, "/s"))
            for p in (50, 95, 99):
                figures.append(Figure(f"{name}, {kind}: p{p}", took.percentile(p), "ms"))
            figures.append(Figure(f"{name}, {kind}: CPU per request", took.cpu_ms, "ms"))
        cpu, n = found[key].short.cpu, len(found[key].short.replies)
        for part, seconds in cpu.most_common(6):
            figures.append(Figure(f"{name}, short: CPU of {part}", seconds / n * 1e3, "ms"))
    about = (
        f"{len(ours.short.replies)} short ({SHORT} tokens) and {len(ours.long.replies)} long ({LONG} tokens) answers "
        f"of the embedded model to {CLIENTS} clients, and {len(ours.steady.replies)} short ones at a steady "
        f"{ours.steady.rate:.1f} a second, half of what the RAG endpoint can take."
    )
    return figures, about


if __name__ == "__main__":
    main()
