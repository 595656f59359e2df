"""A vLLM executor that sleeps where a model would compute: scheduler, block tables and processes stay vLLM's own.

vLLM imports it by name in its core process (`distributed_executor_backend`). A step takes as long as its tokens do at
`RATE` a second, and every reply is the same token over and over, as many as were asked for.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.outputs import ModelRunnerOutput

from lib.counters import counter
from lib.sleeping_rate import RATE

TOKEN = 7  # any that ends nothing


class SleepingExecutor(UniProcExecutor):
    def _init_executor(self) -> None:
        super()._init_executor()
        self.rate = float(os.environ[RATE])
        self._prompts: dict[str, int] = {}  # tokens of the prompts at work
        self._device = ThreadPoolExecutor(1)  # one step after the other
        self._free_at = 0.0
        self._next: Future[ModelRunnerOutput] | None = None
        self._calls = counter("calls")

    def execute_model(self, scheduler_output: SchedulerOutput, non_block: bool = False) -> Any:
        self._next = self._device.submit(self._slept, *self._step(scheduler_output))
        return _now(None) if non_block else None

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        step, self._next = self._next, None
        assert step is not None
        return step if non_block else step.result()

    def _step(self, step: SchedulerOutput) -> tuple[float, ModelRunnerOutput]:
        """The seconds that it takes, and what comes of it."""
        for id in step.finished_req_ids:
            self._prompts.pop(id, None)
        done = {}
        for new in step.scheduled_new_reqs:
            self._prompts[new.req_id] = new.prompt_len
            done[new.req_id] = new.num_computed_tokens
        self._calls.add(len(step.scheduled_new_reqs))
        cached = step.scheduled_cached_reqs
        done |= dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        ids = list(step.num_scheduled_tokens)
        ready = [done[id] + step.num_scheduled_tokens[id] >= self._prompts[id] for id in ids]
        output = ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={id: place for place, id in enumerate(ids)},
            sampled_token_ids=[[TOKEN] if writes else [] for writes in ready],
        )
        return step.total_num_scheduled_tokens / self.rate, output

    def _slept(self, seconds: float, output: ModelRunnerOutput) -> ModelRunnerOutput:
        self._free_at = max(time.monotonic(), self._free_at) + seconds
        time.sleep(max(0.0, self._free_at - time.monotonic()))
        return output


def _now(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
