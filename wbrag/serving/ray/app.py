"""Serve application: gateways, retrievers and, for the backend `vllm`, generators, each a deployment.

`build` is what `serve run serve.app:build config=my.yaml` calls; with or without GPUs only the settings differ.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from wbrag.core import tracing
from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.config import Config, load
from wbrag.core.env import openmp
from wbrag.core.errors import WbragError
from wbrag.core.io.files import location
from wbrag.core.types import Generator, Hit
from wbrag.executor.ray.capacity import Asked, hosts
from wbrag.executor.ray.session import gpus
from wbrag.generators import build as build_client
from wbrag.generators.serve import ServeGenerator
from wbrag.retrieval.encoder import Encoder, Vectors
from wbrag.retrieval.external import is_external
from wbrag.retrieval.hybrid import Words
from wbrag.retrieval.index.sizes import stored_bytes
from wbrag.serving.api.app import drain, startup_error
from wbrag.serving.logs import setup
from wbrag.serving.ray.handles import RemoteGroup, RemoteReleaseRetriever, chat_transport
from wbrag.serving.release_cache import ReleaseCache
from wbrag.serving.release_watcher import ReleaseWatcher
from wbrag.serving.shard_groups import Found, LocalGroup
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

UNBOUNDED = 100_000  # requests in one replica: the gateway's own admission answers 429, Serve must never answer 503
ENCODER_BYTES = 512 << 20  # what an encoder of a hundred million parameters takes
SMALLER = "choose a compressed index.factory, or spread it with serving.shard_groups"
JOINING_S = 30.0  # longest wait of a new gateway replica for its release and its model
QUIET = {"enable_access_log": False, "log_level": "INFO"}  # the gateway writes a line per request, without keys


class RetrieverReplica:
    """An encoder and the shards of the releases in use; with `groups`, those of the base are theirs."""

    async def __init__(self, config: Config, groups: Sequence[DeploymentHandle] = ()) -> None:  # type: ignore[misc]
        os.environ.update(openmp())  # before the encoder loads torch, which reads it
        setup()
        tracing.start(config.tracing, "retriever")
        self.layout = Layout(config=config)
        remote = [RemoteGroup(handle) for handle in groups]
        self.retriever = ReleaseCache(self.layout, Encoder(config.encoder), config.serving.cache_dir, groups=remote)
        await ReleaseWatcher(self.layout, self.retriever).refresh()  # a replica that joins has the release already

    async def search(
        self,
        queries: Sequence[str],
        k: int,
        release: Release,
        allowed: Allowed = EVERYTHING,
        trace: tracing.Carrier | None = None,
    ) -> list[list[Hit]]:
        """Requests that come together are encoded together, by `BatchedEncoder`.

        `@serve.batch` collects for a fixed time, whether the encoder is free or not; without that time its batches
        hold one request each, with it every request waits. What waits here is just what came during the last batch.
        """
        with tracing.span("search", tracing.step("CHAIN", release=release.id, k=k), "server", trace):
            return await self.retriever.search(queries, k, release, allowed)

    async def embed(self, contents: Sequence[str], queries: bool = False) -> Vectors:
        return await self.retriever.embed(contents, queries)

    async def nearest(self, contents: Sequence[str], vectors: Vectors, k: int, release: Release) -> list[list[Hit]]:
        return await self.retriever.nearest(contents, vectors, k, release)

    async def prepare(self, release: Release) -> None:
        await self.retriever.prepare(release)

    async def check_health(self) -> None:
        """A GPU that has failed fails every call from then on."""
        await self.retriever.embed(["health"])  # queries are cached


class GroupReplica:
    """A part of the base's shards, of the releases in use."""

    async def __init__(self, config: Config, number: int) -> None:  # type: ignore[misc]  # Serve awaits it
        os.environ.update(openmp())
        setup()
        layout, encoder = Layout(config=config), Encoder(config.encoder)  # which tests what is opened
        self.group = LocalGroup(layout, encoder, number, config.serving.shard_groups, config.serving.cache_dir)
        await ReleaseWatcher(layout, self.group).refresh()  # a replica that joins has its part already

    async def search(
        self, release: Release, vectors: Vectors, k: int, words: Words | None, allowed: Allowed = EVERYTHING
    ) -> Found:
        return await self.group.search(release, vectors, k, words, allowed)

    async def prepare(self, release: Release) -> None:
        await self.group.prepare(release)

    async def check_health(self) -> None:
        """A GPU that has failed fails every search from then on."""
        await self.group.check()


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
    engines = config.generator.backend == "vllm"
    with _cluster(engines or s.retrievers[0] > 1) as connected:
        has_gpus = gpus() > 0 if connected else engines and _gpus_here()
        asked, *of_groups = retriever_asks(config, hosts if connected else lambda asked: 1)
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
    gateway = serve.deployment(
        Gateway,
        ray_actor_options={"num_cpus": 0.1},
        graceful_shutdown_timeout_s=s.drain_s + 5,
        **_options("Gateway", s.gateways, target=s.concurrency),
    )
    return gateway.bind(config, retriever, generator)


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
