"""wbrag's actors for a host without a GPU: an engine whose model sleeps, and calls from process to process counted."""

from __future__ import annotations

from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

import wbrag.generators.vllm as vllm
from lib.counters import Count, counter
from wbrag.core.config import Config
from wbrag.executor.ray import session
from wbrag.executor.ray.engines import EngineActor
from wbrag.executor.ray.model_actors import EncoderActor, ShardActor

EXECUTOR = {"distributed_executor_backend": "lib.sleeping_executor.SleepingExecutor"}
CALLS = "remote calls"


class SleepingEngine(EngineActor):
    """vLLM's front and scheduler, and `SleepingExecutor` in the model's place."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        real = vllm.engine_options
        vllm.engine_options = lambda *given: real(*given) | EXECUTOR


def counting(actor: type, name: str) -> type:
    """`actor` under the `name` of its process, with every call that comes from another process counted."""
    methods: dict[str, Any] = {}
    for method in dir(actor):
        found = getattr(actor, method)
        if iscoroutinefunction(found) and not method.startswith("_") and method != "beside":
            methods[method] = _counted(found, f"{CALLS} {name}.{method}")
    return type(name, (actor,), methods)


def _counted(method: Any, name: str) -> Any:
    counts: list[Count] = []

    @wraps(method)
    async def call(self: Any, *given: Any, **named: Any) -> Any:
        if not counts:  # in the actor's own process
            counts.append(counter(name))
        counts[0].add()
        return await method(self, *given, **named)

    return call


def install() -> None:
    """Sessions of this process start these actors from now on."""
    for name, actor in (("EngineActor", SleepingEngine), ("EncoderActor", EncoderActor), ("ShardActor", ShardActor)):
        setattr(session, name, counting(actor, name))
