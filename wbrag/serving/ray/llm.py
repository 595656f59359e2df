"""LLM deployment: `ray.serve.llm` with the engine settings of `wbrag.generators.vllm`.

Requests and replies are plain dictionaries, so that a caller need not import vLLM.
https://docs.ray.io/en/latest/serve/llm/index.html
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ray.llm._internal.common.callbacks.base import CallbackBase  # named in the documentation, exported nowhere else
from ray.serve.llm import LLMConfig, LLMServer, build_llm_deployment

from wbrag.core import tracing
from wbrag.core.config import Config, load
from wbrag.core.env import ENGINE, openmp
from wbrag.generators import fetched
from wbrag.generators.hub import pinned
from wbrag.generators.lora import merged


class ChatServer(LLMServer):
    """vLLM's chat server as plain dictionaries, so that a caller need not import vLLM to speak with it."""

    async def chat_wire(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The reply to a chat-completions body, or its chunks; a refusal is `{"error": ...}`."""
        from ray.serve.llm.openai_api_models import ChatCompletionRequest  # loads vLLM

        trace = body.pop("trace", None)
        if trace:
            _trace()
        try:
            request = ChatCompletionRequest(**body)
        except ValidationError as error:
            yield {"error": {"message": str(error)}}
            return
        span = tracing.begun("generate", tracing.step("CHAIN"), "server", trace)
        try:
            async for reply in await self.chat(request):
                for part in _parts(reply):
                    yield part
        finally:
            span.end()

    async def chat_whole(self, body: dict[str, Any]) -> dict[str, Any]:
        """The one reply to a body that asks for no stream."""
        async with aclosing(self.chat_wire(body)) as replies:
            return await anext(replies)


@cache
def _trace() -> None:
    """As the replica's environment says: Ray's server gets no settings of ours."""
    tracing.start(load().tracing, "generator")


def _parts(reply: Any) -> Iterator[dict[str, Any]]:
    for part in reply if isinstance(reply, list) else [reply]:
        if not isinstance(part, str):
            yield part.model_dump(mode="json")
            continue
        for line in part.splitlines():  # server-sent events
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))


class CPUChatServer(ChatServer):
    def _get_default_engine_class(self) -> Any:
        from wbrag.serving.ray.llm_engine import SingleProcessEngine

        return SingleProcessEngine


class LocalModel(CallbackBase):
    """A model folder needs no download: Ray starts no task for it."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


def build_generator(config: Config, gpus: bool, options: dict[str, Any]) -> Any:
    """The deployment; `options` are Serve's (name, replicas, health checks)."""
    server = ChatServer if gpus else CPUChatServer
    return build_llm_deployment(llm_config(config, gpus), deployment_cls=server, override_serve_options=options)


def llm_config(config: Config, gpus: bool) -> LLMConfig:
    """The generator's settings in Ray's words."""
    g, path = pinned(config.generator), fetched(config.generator)
    if g.adapter:  # one adapter for all requests costs nothing once it is in the weights
        path, g = str(merged(path, g.adapter, g.revision)), g.model_copy(update={"revision": None})
    local = Path(path).expanduser().is_dir()
    engine: dict[str, Any] = {
        "dtype": ("auto" if gpus else "float32") if g.dtype == "auto" else g.dtype,
        "seed": config.seed,
        "max_num_seqs": g.concurrency if gpus else g.in_flight,
        "tensor_parallel_size": g.tensor_parallel_size,
        "gpu_memory_utilization": g.gpu_memory_utilization,
        "enable_prefix_caching": True,
        "enforce_eager": not gpus,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "generation_config": "vllm",
        "max_logprobs": 20,
        "revision": g.revision,
        "max_model_len": g.max_model_len,
        **g.engine.chosen(),
    }
    placement = {} if gpus else {"placement_group_config": {"bundle_per_worker": {"CPU": 1, "GPU": 0}}}
    return LLMConfig(
        model_loading_config={"model_id": g.model, "model_source": path},
        engine_kwargs={name: value for name, value in engine.items() if value is not None},
        deployment_config={"ray_actor_options": {"num_cpus": 1 if gpus else 0}},
        runtime_env={"env_vars": _environment(local, gpus) | tracing.environment(config.tracing)},
        callback_config={"callback_class": LocalModel} if local else {},
        **placement,
    )


def _environment(local: bool, gpus: bool) -> dict[str, str]:
    found = dict(ENGINE)
    if local:
        found["HF_HUB_OFFLINE"] = "1"
    if not gpus:  # all cores, which the encoder shares: no thread is bound to one
        found |= {
            "VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"),  # GiB
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            **openmp(),
        }
    return found
