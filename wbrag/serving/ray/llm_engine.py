"""Single-process vLLM engine for CPUs: the model runs in the engine's own process.

Importing this loads vLLM.
"""

from __future__ import annotations

from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine


class SingleProcessEngine(VLLMEngine):
    """Ray asks for a worker process per device; with one device it only costs the start of one more interpreter."""

    def _prepare_engine_config(self, callback_ctx: Any) -> Any:
        arguments, frontend, config = super()._prepare_engine_config(callback_ctx)
        if config.parallel_config.world_size == 1:
            config.parallel_config.distributed_executor_backend = "uni"
        return arguments, frontend, config
