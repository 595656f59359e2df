"""Serve application: gateways, retrievers and, for the backend `vllm`, generators, each a deployment; or all in one.

`build` is what `serve run serve.app:build config=my.yaml` calls; with or without GPUs only the settings differ.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import ray
from ray import serve

from wbrag.core.config import Config, load
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.files import location
from wbrag.core.sections import ServingConfig
from wbrag.executor.ray.capacity import Asked, hosts, nodes
from wbrag.executor.ray.session import gpus
from wbrag.retrieval.external import is_external
from wbrag.retrieval.index.sizes import stored_bytes
from wbrag.serving.ray.replicas import Gateway, GroupReplica, RetrieverReplica
from wbrag.units.layout import Layout

UNBOUNDED = 100_000  # requests in one replica: the gateway's own admission answers 429, Serve must never answer 503
ENCODER_BYTES = 512 << 20  # what an encoder of a hundred million parameters takes
SMALLER = "choose a compressed index.factory, or spread it with serving.shard_groups"
QUIET = {"enable_access_log": False, "log_level": "INFO"}  # the gateway writes a line per request, without keys


def build(args: dict[str, Any]) -> serve.Application:
    """The application for `config=FILE`; any other argument is a setting, such as `workspace=DIR`."""
    settings = dict(args)
    return application(load(settings.pop("config", None), **settings))


def application(config: Config) -> serve.Application:
    """The deployments, bound to each other."""
    s = config.serving
    config = config.model_copy(update={"workspace": str(location(config.workspace).expanduser().resolve())})
    engines = config.generator.backend == "vllm"
    with _cluster(engines or s.retrievers[0] > 1) as connected:
        has_gpus = gpus() > 0 if connected else engines and _gpus_here()
        together, (asked, *of_groups) = places(config, has_gpus, connected)
    if together:
        s = s.model_copy(update={"gateways": _gateways(s)})
    gateway = _options("Gateway", s.gateways, target=s.concurrency) | {"graceful_shutdown_timeout_s": s.drain_s + 5}
    if together:
        return serve.deployment(Gateway, **_place(asked), **gateway).bind(config)
    groups = [
        serve.deployment(GroupReplica, **_place(one), **_options(f"Shards-{number}", s.retrievers, target=16)).bind(
            config, number
        )
        for number, one in enumerate(of_groups)
    ]
    retriever = serve.deployment(
        RetrieverReplica, **_place(asked), **_options("Retriever", s.retrievers, target=16)
    ).bind(config, groups)
    generator = None
    if engines:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # Ray loads vLLM here, to check its settings
        from wbrag.serving.ray.llm import build_generator

        generator = build_generator(
            config, has_gpus, _options("Generator", s.generators, target=max(1, config.generator.in_flight // 2))
        )
    front = serve.deployment(Gateway, ray_actor_options={"num_cpus": 0.1}, **gateway)
    return front.bind(config, retriever, generator)


def places(config: Config, has_gpus: bool, connected: bool) -> tuple[bool, list[Asked]]:
    """Whether one process answers, and what it, or else a retriever and each group of shards, asks of a node."""
    count = hosts if connected else lambda asked: 1
    if not in_one_process(config, has_gpus, len(nodes()) if connected else 1):
        return False, retriever_asks(config, count)
    copies = config.serving.model_copy(update={"retrievers": _gateways(config.serving)})
    [asked] = retriever_asks(config.model_copy(update={"serving": copies}), count)
    if config.generator.backend == "vllm":
        if has_gpus and config.index.gpus_per_shard:
            raise UsageError(
                "expected serving.one_process or index.gpus_per_shard, found both: "
                "the engine's GPU has no room for shards, leave one out"
            )
        gpu = config.generator.tensor_parallel_size if has_gpus else asked.gpu
        asked = replace(asked, what="the endpoint's process", cpu=1.0, gpu=gpu)
    return True, [asked]


def _gateways(s: ServingConfig) -> tuple[int, int]:
    """How many in one process: one, unless it was set; a second engine on the same cores or GPU helps nobody."""
    return s.gateways if "gateways" in s.model_fields_set else (1, 1)


def in_one_process(config: Config, has_gpus: bool, machines: int) -> bool:
    """Whether an answer is worked out in one process: as set, or where one machine has one engine and no GPU.

    On such a machine everything shares the same cores, and what crosses from process to process costs of them.
    """
    s = config.serving
    if s.one_process and s.shard_groups > 1:
        raise UsageError("expected serving.one_process or several serving.shard_groups, found both: leave one out")
    if s.one_process is not None:
        return s.one_process
    least = max(s.gateways[0], s.retrievers[0], s.generators[0], s.shard_groups)
    return config.generator.backend == "vllm" and not has_gpus and machines <= 1 and least == 1


def retriever_asks(config: Config, hosts: Callable[[Asked], int]) -> list[Asked]:
    """What a retriever replica asks of a node, and one of each group of shards where there are several.

    An encoder, and the vectors of the release that is the newest when the endpoint starts. These are mapped, so that
    the replicas of a node share them: the least of the replicas hold them together where one node hosts them all, and
    each of several, which `hosts` counts, may have one alone. Vectors for rescoring and texts, of which a search reads
    a page a hit, take what memory is left.
    """
    s, layout = config.serving, Layout(config=config)
    shards = math.ceil(config.index.shards / s.shard_groups)
    on_gpu = config.index.gpus_per_shard * shards
    base = units = 0
    with suppress(WbragError):  # what is missing or damaged, whoever starts the replica says
        for manifest, origin in layout.indexes(layout.default_release(None)):
            held = stored_bytes(layout.path / "index", manifest)
            base, units = (base + held, units) if origin == "base" else (base, units + held)

    def ask(what: str, held: int, gpu: float) -> Asked:
        alone = Asked(what, 0.5, min(1.0, gpu), ENCODER_BYTES + held, SMALLER)
        together = replace(alone, memory=ENCODER_BYTES + held // s.retrievers[0])
        return together if hosts(together) <= 1 else alone

    if not spread(config):
        return [ask("a retriever", base + units, config.encoder.gpus_per_actor + on_gpu)]
    part = ask("a part of the index", base // s.shard_groups, on_gpu)
    return [ask("a retriever", units, config.encoder.gpus_per_actor), *[part] * s.shard_groups]


def spread(config: Config) -> bool:
    """Whether the base is in groups of shards; an outside store has none."""
    return config.serving.shard_groups > 1 and not is_external(config)


def _place(asked: Asked) -> dict[str, Any]:
    return {"ray_actor_options": {"num_cpus": asked.cpu, "num_gpus": asked.gpu, "memory": asked.memory}}


def _options(name: str, bounds: tuple[int, int], target: int) -> dict[str, Any]:
    """Serve's options; a replica is added where one has more than `target` requests on average."""
    low, high = bounds
    scaling = {"min_replicas": low, "max_replicas": high, "target_ongoing_requests": target}
    return {
        "name": name,
        "max_ongoing_requests": UNBOUNDED,
        "max_constructor_retry_count": 3,
        "health_check_period_s": 3.0,  # what a dead replica goes unnoticed at most
        "graceful_shutdown_wait_loop_s": 0.5,
        "logging_config": QUIET,
        **({"num_replicas": low} if low == high else {"autoscaling_config": scaling}),
    }


@contextmanager
def _cluster(asked: bool) -> Iterator[bool]:
    """Whether a cluster can be asked; not where that is not `asked`, or none runs and one will be started here.

    `serve run` calls the builder before it connects: then a connection is lent.
    """
    if not asked or ray.is_initialized():
        yield asked
        return
    try:
        ray.init(os.environ.get("RAY_ADDRESS", "auto"), logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError:
        yield False
        return
    try:
        yield True
    finally:
        ray.shutdown()  # whoever connects next brings settings of its own


def _gpus_here() -> bool:
    import torch

    return torch.cuda.is_available()
