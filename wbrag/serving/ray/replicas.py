"""Replicas of the Serve application: gateways, retrievers and groups of shards, each over the parts it is bound to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from wbrag.core import tracing
from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.config import Config
from wbrag.core.env import openmp
from wbrag.core.types import Generator, Hit
from wbrag.generators import build
from wbrag.generators.enduring import EnduringGenerator
from wbrag.generators.hub import pinned
from wbrag.generators.serve import ServeGenerator
from wbrag.retrieval.encoder import Encoder, Vectors
from wbrag.retrieval.hybrid import Words
from wbrag.serving import ReleaseRetriever
from wbrag.serving.api.app import drain, startup_error
from wbrag.serving.logs import setup
from wbrag.serving.ray.handles import RemoteGroup, RemoteReleaseRetriever, chat_transport
from wbrag.serving.release_cache import ReleaseCache
from wbrag.serving.release_watcher import ReleaseWatcher
from wbrag.serving.shard_groups import Found, LocalGroup
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

JOINING_S = 30.0  # longest wait of a new gateway replica for its release and its model


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
    """`wbrag.serving.api.app` over handles; the releases table is followed by each replica for itself.

    Without a handle to retrievers it has encoder and shards in its own process, and, where the backend is one, the
    engine too: an answer then never leaves it.
    """

    def __init__(
        self, config: Config, retriever: DeploymentHandle | None = None, generator: DeploymentHandle | None = None
    ) -> None:
        if retriever is None:
            os.environ.update(openmp())  # before torch and vLLM read it
        setup()
        self.config, self.layout = config, Layout(config=config)
        self.retriever: ReleaseRetriever = (
            ReleaseCache(self.layout, Encoder(config.encoder), config.serving.cache_dir)
            if retriever is None
            else RemoteReleaseRetriever(retriever)
        )
        self.engine: EnduringGenerator | None = None
        self.generator: Generator
        if generator is not None:
            self.generator = ServeGenerator(config.generator, chat_transport(generator), config.seed)
        else:
            self.generator = build(config)  # a setting that is wrong is refused here, before anything loads
            if config.generator.backend == "vllm":
                pinned_once = config.model_copy(update={"generator": pinned(config.generator)})
                self.generator = self.engine = EnduringGenerator(partial(build, pinned_once))
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

    async def check_health(self) -> None:
        """Raises where this process has lost what it answers with, so that another one is tried."""
        if self.engine is not None:
            self.engine.check()
        if isinstance(self.retriever, ReleaseCache):  # a GPU that has failed fails every call from then on
            await self.retriever.embed(["health"])
