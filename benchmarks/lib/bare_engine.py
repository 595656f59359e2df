"""The bare engine: `vllm.LLM.generate` in a process of its own, given every prompt of a stage at once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from lib.enrichment import Ask
from wbrag.core.config import Config
from wbrag.core.env import cores


@dataclass
class Batch:
    """One stage: its replies in order, seconds, and tokens; `cached` are prompt tokens out of the prefix cache."""

    replies: list[str]
    seconds: float
    ends: list[float]  # of each reply, by the clock that all processes share
    prompt: int
    cached: int
    written: int


@dataclass
class Replay:
    """All stages, and the seconds of the engine's start."""

    start_s: float
    batches: list[Batch]

    @property
    def calls(self) -> int:
        return sum(len(batch.replies) for batch in self.batches)

    @property
    def seconds(self) -> float:
        return sum(batch.seconds for batch in self.batches)

    @property
    def ends(self) -> list[float]:
        return [end for batch in self.batches for end in batch.ends]

    @property
    def prompt(self) -> int:
        return sum(batch.prompt for batch in self.batches)

    @property
    def cached(self) -> int:
        return sum(batch.cached for batch in self.batches)


def replay(
    runs: Sequence[Sequence[Sequence[Ask]]], config: Config, core: int | None = None, **engine: Any
) -> list[Replay]:
    """Each of `runs` is stages of prompts; one engine answers them all, its prefix cache emptied before each run.

    `core`: the one it may run on; all where it is None. `engine` are vLLM's options over those of wbrag.
    """
    pin = (os.sched_setaffinity, (0, {core})) if core is not None else (None, ())
    with ProcessPoolExecutor(1, get_context("spawn"), *pin) as process:
        return process.submit(_replay, runs, config, engine).result()


def _replay(runs: Sequence[Sequence[Sequence[Ask]]], config: Config, options: dict[str, Any]) -> list[Replay]:
    from wbrag.generators import model_path
    from wbrag.generators.vllm import engine_options, prepare_environment

    path = model_path(config.generator)
    prepare_environment(path)
    os.environ["OMP_NUM_THREADS"] = str(cores())  # as wbrag's engine; they spin, which suits one alone
    os.nice(15)  # as Ray's workers are, so that other work on the machine slows both alike
    begun = time.perf_counter()
    from vllm import LLM

    timed = {"disable_log_stats": False}  # else no reply says when it ended
    llm = LLM(**engine_options(config.generator, path, config.seed) | timed | options)
    started = time.perf_counter() - begun
    found = []
    for stages in runs:
        llm.reset_prefix_cache()
        found.append(Replay(started, [_batch(llm, asks, config.seed) for asks in stages]))
    llm.llm_engine.engine_core.shutdown()  # else this process waits for its engine's at its own end
    return found


def _batch(llm: Any, asks: Sequence[Ask], seed: int) -> Batch:
    from vllm import SamplingParams

    template = llm.get_tokenizer().apply_chat_template
    chats = [[{"role": m.role, "content": m.content} for m in ask.messages] for ask in asks]
    prompts = [template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    params = [SamplingParams(max_tokens=ask.max_tokens, temperature=0.0, seed=seed) for ask in asks]
    begun = time.perf_counter()
    outputs = llm.generate(prompts, params, use_tqdm=False) if prompts else []
    seconds = time.perf_counter() - begun
    return Batch(
        [o.outputs[0].text for o in outputs],
        seconds,
        [o.metrics.last_token_ts for o in outputs],
        sum(len(o.prompt_token_ids) for o in outputs),
        sum(o.num_cached_tokens or 0 for o in outputs),
        sum(len(o.outputs[0].token_ids) for o in outputs),
    )
