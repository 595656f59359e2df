"""Serve application: gateways, retrievers and, for the backend `vllm`, generators, each a deployment.

`build` is what `serve run serve.app:build config=my.yaml` calls; with or without GPUs only the settings differ.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from wbrag.core.config import Config, load
from wbrag.core.env import openmp
from wbrag.core.errors import WbragError
from wbrag.core.io.files import location
from wbrag.core.types import Generator, Hit
from wbrag.executor.ray.capacity import Asked
from wbrag.executor.ray.session import gpus
from wbrag.generators import build as build_client
from wbrag.generators.serve import ServeGenerator
from wbrag.retrieval.encoder import Encoder, Vectors
from wbrag.retrieval.index.sizes import stored_bytes
from wbrag.serving.api.app import drain, startup_error
from wbrag.serving.logs import setup
from wbrag.serving.ray.handles import RemoteReleaseRetriever, chat_transport
from wbrag.serving.release_cache import ReleaseCache
from wbrag.serving.release_watcher import ReleaseWatcher
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

UNBOUNDED = 100_000  # requests in one replica: the gateway's own admission answers 429, Serve must never answer 503
ENCODER_BYTES = 512 << 20  # what an encoder of a hundred million parameters takes
JOINING_S = 30.0  # longest wait of a new gateway replica for its release and its model
QUIET = {"enable_access_log": False, "log_level": "INFO"}  # the gateway writes a line per request, without keys


class RetrieverReplica:
    """An encoder and the shards of the releases in use."""

    async def __init__(self, config: Config) -> None:  # type: ignore[misc]  # Serve awaits it
        os.environ.update(openmp())  # before the encoder loads torch, which reads it
        setup()
        self.layout = Layout(config=config)
        self.retriever = ReleaseCache(self.layout, Encoder(config.encoder), config.serving.cache_dir)
        await ReleaseWatcher(self.layout, self.retriever).refresh()  # a replica that joins has the release already

    async def search(self, queries: Sequence[str], k: int, release: Release) -> list[list[Hit]]:
        """Requests that come together are encoded together, by `BatchedEncoder`.

        `@serve.batch` collects for a fixed time, whether the encoder is free or not; without that time its batches
        hold one request each, with it every request waits. What waits here is just what came during the last batch.
        """
        return await self.retriever.search(queries, k, release)

    async def embed(self, contents: Sequence[str]) -> Vectors:
        return await self.retriever.embed(contents)

    async def nearest(self, contents: Sequence[str], vectors: Vectors, k: int, release: Release) -> list[list[Hit]]:
        return await self.retriever.nearest(contents, vectors, k, release)

    async def prepare(self, release: Release) -> None:
        await self.retriever.prepare(release)

    async def check_health(self) -> None:
        """A GPU that has failed fails every call from then on."""
        await self.retriever.embed(["health"])  # queries are cached


@serve.ingress()
class Gateway:
    """`wbrag.serving.api.app` over handles; the releases table is followed by each replica for itself."""

    def __init__(self, config: Config, retriever: DeploymentHandle, generator: DeploymentHandle | None = None) -> None:
        setup()
        self.config, self.layout = config, Layout(config=config)
        self.retriever = RemoteReleaseRetriever(retriever)
        self.generator: Generator = (
            build_client(config)
            if generator is None
            else ServeGenerator(config.generator, chat_transport(generator), config.seed)
        )
        self.watcher = ReleaseWatcher(self.layout, self.retriever, config.serving.poll_s)

    async def __serve_build_asgi_app__(self) -> Any:
        """A replica that joins takes requests once it can answer them, or tells at `/readyz` what it waits for."""
        from wbrag.serving.endpoint import endpoint  # the pages and their charts, which other replicas do without

        self.gateway = endpoint(self.layout, self.retriever, self.generator, self.watcher)
        health = self.gateway.state.service.health
        with suppress(TimeoutError):
            async with asyncio.timeout(JOINING_S):
                health.start()
                await self.watcher.refresh()
                while not health.up:
                    await asyncio.sleep(0.02)
        return self.gateway

    async def drain(self) -> bool:
        """Take nothing new; True once everything begun is finished."""
        return await drain(self.gateway)

    async def startup_status(self) -> tuple[str, str]:
        """The release that answers, "" before the first, and what has kept it from answering, "" for nothing."""
        return self.watcher.release.id if self.watcher.release else "", startup_error(self.gateway)


def build(args: dict[str, Any]) -> serve.Application:
    """The application for `config=FILE`; any other argument is a setting, such as `workspace=DIR`."""
    settings = dict(args)
    return application(load(settings.pop("config", None), **settings))


def application(config: Config) -> serve.Application:
    """The deployments, bound to each other."""
    s = config.serving
    config = config.model_copy(update={"workspace": str(location(config.workspace).expanduser().resolve())})
    asked = retriever_asks(config)
    retriever = serve.deployment(
        RetrieverReplica,
        ray_actor_options={"num_cpus": asked.cpu, "num_gpus": asked.gpu, "memory": asked.memory},
        **_options("Retriever", s.retrievers, target=16),
    ).bind(config)
    generator = None
    if config.generator.backend == "vllm":
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # Ray loads vLLM here, to check its settings
        from wbrag.serving.ray.llm import build_generator

        generator = build_generator(
            config, _gpus(), _options("Generator", s.generators, target=max(1, config.generator.concurrency // 2))
        )
    gateway = serve.deployment(
        Gateway,
        ray_actor_options={"num_cpus": 0.1},
        graceful_shutdown_timeout_s=s.drain_s + 5,
        **_options("Gateway", s.gateways, target=s.concurrency),
    )
    return gateway.bind(config, retriever, generator)


def retriever_asks(config: Config) -> Asked:
    """What a retriever replica asks of a node: its encoder, and its part of the vectors of the newest release.

    These are mapped, so that the replicas of a node share them: the least of the replicas hold them together.
    """
    e, layout = config.encoder, Layout(config=config)
    gpu = min(1.0, e.gpus_per_actor + config.index.gpus_per_shard * config.index.shards)
    held = 0
    with suppress(WbragError):  # what is missing or damaged, whoever starts the replica says
        found = layout.indexes(layout.default_release(None))
        held = sum(stored_bytes(layout.path / "index", manifest) for manifest, _ in found)
    memory = ENCODER_BYTES + held // config.serving.retrievers[0]
    return Asked("a retriever", 0.5, gpu, memory, "choose a compressed index.factory")


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


def _gpus() -> bool:
    """Whether the cluster has GPUs. `serve run` calls the builder before it connects: then a connection is lent."""
    if ray.is_initialized():
        return gpus() > 0
    try:
        ray.init(os.environ.get("RAY_ADDRESS", "auto"), logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError:  # no cluster runs: one will be started on this machine
        import torch

        return torch.cuda.is_available()
    try:
        return gpus() > 0
    finally:
        ray.shutdown()  # whoever connects next brings settings of its own
