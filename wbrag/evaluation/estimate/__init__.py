"""Cost estimate: calls, tokens, hours, bytes and price of a job before it runs (`wbrag plan`).

Every figure says what it rests on: given, measured, exact, or assumed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from wbrag.core.config import Config
from wbrag.core.errors import UsageError, unknown
from wbrag.enrich.rows import Row
from wbrag.evaluation.estimate.calls import Shares, Words, shares_of, stages, words_of
from wbrag.retrieval.index.sizes import Texts, index_bytes

BYTES_A_WORD = 6.0  # of English text, space included
TITLE_BYTES, ID_BYTES = 20.0, 10.0
FORMULA = "formula"


@dataclass(frozen=True)
class Estimate:
    """A figure, and where it is from."""

    value: float
    origin: str


@dataclass(frozen=True)
class PlanRequest:
    """What the plan is for; None where `known.yaml` or the settings answer."""

    examples: int
    passages: int
    model: str
    gpus: int = 1
    device: str = "h200"
    workload: str = "nq"
    nodes: int = 1
    calls_per_second: float | None = None  # of one GPU
    passages_per_second: float | None = None
    price: float | None = None  # of a GPU for an hour
    dimension: int | None = None
    closed_book: float | None = None
    accepted: float | None = None
    passage_words: float | None = None
    texts: Texts | None = None
    tokens_per_word: float | None = None
    trial: Sequence[Row] = ()  # verdicts of a finished run, in place of the workload's shares


def plan(request: PlanRequest, config: Config) -> list[dict[str, Any]]:
    """Calls, tokens, hours, bytes and cost as rows of `what`, `value`, `unit` and `from`."""
    if request.examples < 0 or request.passages < 1 or request.gpus < 1 or request.nodes < 1:
        raise UsageError("expected examples, passages, GPUs and nodes to be counted from 1, found less: correct them")
    return [*_calls(request, config), *_index(request, config)]


def _calls(request: PlanRequest, config: Config) -> list[dict[str, Any]]:
    shares, words, origin = workload(request, config.enrich.top_k)
    found = stages(request.examples, shares, words, config.enrich)
    calls = sum(stage.calls for stage in found.values())
    speed, ratio = throughput(request), tokens_per_word(request)
    prompt = sum(stage.calls * stage.prompt_words for stage in found.values()) * ratio.value
    reply = sum(stage.calls * (stage.reply_words * ratio.value + 1) for stage in found.values())  # and its end
    hours = calls / speed.value / 3600
    rows = [
        _row("closed book suffices", shares.closed_book, "of all", origin),
        _row("accepted", shares.accepted, "of all", origin),
    ]
    rows += [_row(f"calls: {name}", round(stage.calls), "calls", FORMULA) for name, stage in found.items()]
    rows += [
        _row("calls", round(calls), "calls", FORMULA),
        _row("prompt tokens", round(prompt), "tokens", ratio.origin),
        _row("output tokens", round(reply), "tokens", ratio.origin),
        _row("units, before the checks", round(shares.accepted * request.examples), "units", FORMULA),
        _row("enrichment, GPU hours", round(hours, 3), "h", speed.origin),
        _row(f"enrichment on {request.gpus}", round(hours / request.gpus, 3), "h", speed.origin),
    ]
    if request.price is not None:
        rows.append(_row("enrichment, cost", round(hours * request.price, 2), "", "the given price"))
    return rows


def _index(request: PlanRequest, config: Config) -> list[dict[str, Any]]:
    dimension = request.dimension or _dimension(config.encoder.model)
    texts, origin = request.texts, "exact"
    if texts is None:
        words = request.passage_words or workload(request, config.enrich.top_k)[1].passage
        texts, origin = Texts(ID_BYTES, TITLE_BYTES, words * BYTES_A_WORD), "assumed: 6 bytes a word"
    i = config.index
    shards = min(i.shards, request.passages)
    block = min(i.block_rows, -(-request.passages // (8 * i.shards)))  # as a build cuts a small corpus
    size = index_bytes(request.passages, dimension, i.factory, texts, shards, block)
    speed = embedding(request)
    hours = request.passages / speed.value / 3600
    rows = [
        _row("index in memory", size.faiss, "bytes", f"exact, {i.factory}, {dimension} dimensions"),
        _row(f"index in memory, each of {request.nodes} nodes", -(-size.faiss // request.nodes), "bytes", FORMULA),
        _row("vectors beside it, on disk", size.vectors, "bytes", "exact"),
        _row("texts, on disk", size.texts, "bytes", origin),
        _row("stored embeddings, on disk", request.passages * dimension * 2, "bytes", "exact but for file heads"),
        _row("embedding, GPU hours", round(hours, 3), "h", speed.origin),
        _row(f"embedding on {request.gpus}", round(hours / request.gpus, 3), "h", speed.origin),
    ]
    if request.price is not None:
        rows.append(_row("embedding, cost", round(hours * request.price, 2), "", "the given price"))
    return rows


def workload(request: PlanRequest, top_k: int) -> tuple[Shares, Words, str]:
    """Shares and words of the question set, from a trial run or from the table, with what was given in their place."""
    table = _known()["workloads"]
    if request.workload not in table:
        raise unknown("workload", request.workload, list(table))
    entry = table[request.workload]
    if request.trial:
        passage = request.passage_words or entry["words"]["passage"]
        return (
            shares_of(request.trial, top_k),
            words_of(request.trial, passage),
            f"measured: {len(request.trial)} verdicts",
        )
    given = {name: value for name in ("closed_book", "accepted") if (value := getattr(request, name)) is not None}
    shares = Shares(**{name: entry[name] for name in Shares.__dataclass_fields__} | given)
    words = {**entry["words"], **({"passage": request.passage_words} if request.passage_words else {})}
    return shares, Words(**words), "; ".join([*(f"given: {name}" for name in given), entry["origin"]])


def throughput(request: PlanRequest) -> Estimate:
    """Generator calls in a second of one GPU."""
    if request.calls_per_second:
        return Estimate(request.calls_per_second, "given: calls per second")
    entry = _device("throughput", request.device, "--calls-per-second")
    billions = _billions(request.model)
    if billions == entry["billions"]:
        return Estimate(entry["calls_per_second"], entry["origin"])
    scaled = f"assumed: time in proportion to parameters, {billions:g}B against {entry['billions']}B"
    return Estimate(entry["calls_per_second"] * entry["billions"] / billions, f"{scaled}, from {entry['origin']}")


def embedding(request: PlanRequest) -> Estimate:
    """Passages in a second of one GPU."""
    if request.passages_per_second:
        return Estimate(request.passages_per_second, "given: passages per second")
    entry = _device("embedding", request.device, "--passages-per-second")
    return Estimate(entry["passages_per_second"], entry["origin"])


def tokens_per_word(request: PlanRequest) -> Estimate:
    entry = _known()["tokens_per_word"]
    return (
        Estimate(request.tokens_per_word, "given")
        if request.tokens_per_word
        else Estimate(entry["value"], entry["origin"])
    )


def _device(table: str, name: str, flag: str) -> Any:
    known = _known()[table]
    if name not in known:
        raise UsageError(f"expected a device of known speed ({', '.join(known)}), found {name!r}: give {flag}")
    return known[name]


def _billions(model: str) -> float:
    """Parameters by the model's name, such as Llama-3.1-8B."""
    found = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])", model.lower().replace("-", " ").replace("_", " "))
    if not found:
        raise UsageError(
            f"expected a model whose name says its size, such as Llama-3.1-8B, found {model!r}: give --calls-per-second"
        )
    return float(found[-1])


def _dimension(encoder: str) -> int:
    known = _known()["encoders"].get(encoder)
    if known is None:
        raise UsageError(f"expected an encoder of known dimension, found {encoder!r}: give --dimension")
    return int(known["dimension"])


@cache
def _known() -> Any:
    return yaml.safe_load(files("wbrag.evaluation.estimate").joinpath("known.yaml").read_text(encoding="utf-8"))


def _row(what: str, value: float, unit: str, origin: str) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "from": origin}
