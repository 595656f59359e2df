"""Ray session: one connection and the actors that hold models, shared by every step of a job so that none starts twice.

Engines, encoders and shards are actors that live as long as the session; the Ray Data stages only call them. A remote
call costs under a millisecond, an engine start 10 seconds on a CPU and minutes for a 12B model.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray

from wbrag.core.config import Config
from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location
from wbrag.core.types import Origin
from wbrag.enrich.row_jobs import Handles, Searched
from wbrag.executor.ray.capacity import Asked, check, cluster, grows, nodes, pending
from wbrag.executor.ray.engine_pool import START_RETRIES, EnginePool
from wbrag.executor.ray.engines import CALLS_AT_ONCE, EngineActor, RemoteGenerator
from wbrag.executor.ray.failures import translated
from wbrag.executor.ray.model_actors import EncoderActor, RemoteEncoder, RemoteReranker, RemoteShard, ShardActor
from wbrag.executor.ray.quiet import quiet_start
from wbrag.executor.ray.shares import Shares, shares
from wbrag.executor.ray.watchdog import watch_head
from wbrag.generators import generator_fingerprint
from wbrag.generators.hub import pinned
from wbrag.retrieval.index.manifest import Manifest

log = logging.getLogger(__name__)
SAYS_S = 60.0  # between two words about what is waited for
CLOSING_S = 10  # an engine whose calls all hang is not waited for longer
# Actors lie spread over the nodes, so that a lost node takes the least with it, and come back on another one however
# often that happens: spot nodes go several times a night. A call to a lost node uses up a try a second until Ray gives
# the node up, which takes 15 s and more.
ANYWHERE: dict[str, Any] = {"scheduling_strategy": "SPREAD", "max_restarts": -1, "max_task_retries": 60}


class Session:
    """Connects to the cluster on first use; `close()` shuts the engines down before the actors go."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._engines: dict[str, EnginePool] = {}  # by model
        self._encoders: list[Any] = []
        self._encoders_up: list[Any] = []  # what says that each is
        self._shards: dict[tuple[Origin, int], Any] = {}
        self.checked: set[tuple[object, ...]] = set()  # what these models were found able to do
        self._connected = self._started = False
        self._head = threading.Event()  # set: its head is not watched any more

    def connect(self) -> None:
        """Join the job's cluster (`ray.address`, RAY_ADDRESS), else start Ray on this machine."""
        if self._connected:
            return
        address = self.config.ray.address or os.environ.get("RAY_ADDRESS")
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "ignore_reinit_error": True}
        if not ray.is_initialized():
            try:
                with quiet_start():
                    if address:
                        ray.init(address=address, **quiet)
                    else:
                        # Actors here mostly wait for each other, so more of them than cores may be scheduled.
                        ray.init(
                            address="local", num_cpus=max(8, os.cpu_count() or 1), include_dashboard=False, **quiet
                        )
                self._started = True
            except Exception as error:  # a node that is slow to come up is a bare Exception
                reason = " ".join(str(error).split())[:200]
                raise WbragError(
                    f"expected a Ray cluster at {address or 'this machine'}, found {reason}: "
                    "check ray.address or the load"
                ) from None
        self._head = watch_head(ray.get_runtime_context().gcs_address)
        self._connected = True

    def start(self) -> None:
        """Begin to start encoders and engines, for a job that will need both; whoever uses one waits for it."""
        self._start_engines(self.config)  # first: one of several GPUs needs them on one node
        self.start_encoders()

    def generator(self) -> RemoteGenerator:
        """One door to the engines; the first call starts the most of `generator.engines` and waits for the least."""
        return self._door(self.config)

    def distiller(self) -> RemoteGenerator:
        """The door to the engines that write units: the same, unless `distiller.generator` names another model."""
        return self._door(self.config.for_distiller())

    def _door(self, config: Config) -> RemoteGenerator:
        pool = self._start_engines(config)
        least = min(config.generator.engines[0], len(pool))
        wait(pool.starting, "the engines", config.ray.start_timeout_s, at_least=least)
        return RemoteGenerator(pool, generator_fingerprint(config))

    def _start_engines(self, config: Config) -> EnginePool:
        """The engines of `config`'s model."""
        g, key = config.generator, generator_fingerprint(config)
        if key not in self._engines:
            self.connect()
            parallel = g.tensor_parallel_size if gpus() and g.backend == "vllm" else 0
            resources = {"num_gpus": parallel} if parallel else {"num_cpus": 1}
            actor = ray.remote(EngineActor).options(
                **resources,
                **ANYWHERE | {"max_task_retries": 0},  # `RemoteGenerator` repeats calls, and finds those that kill
                max_concurrency=CALLS_AT_ONCE,
            )
            found = self._shares()
            self.check(Asked("an engine", 1, parallel, lower="lower generator.tensor_parallel_size"))
            count = found.engines if config is self.config else found.distillers
            same = config.model_copy(update={"generator": pinned(g)})  # one commit for all nodes
            engines = [actor.remote(same) for _ in range(count)]
            ready = [engine.ready.options(max_task_retries=START_RETRIES).remote() for engine in engines]
            self._engines[key] = EnginePool(engines, ready, config.ray.start_timeout_s)
        return self._engines[key]

    def encoder(self) -> RemoteEncoder:
        """One door to the encoder replicas, as many of `encoder.actors` as fit; the first use waits for the least."""
        self.start_encoders()
        least = min(self.config.encoder.actors[0], len(self._encoders))
        wait(self._encoders_up, "the encoders", self.config.ray.start_timeout_s, at_least=least)
        return RemoteEncoder(self._encoders, self._encoders_up)

    def start_encoders(self) -> None:
        """Begin to start them; `encoder` waits for the least."""
        if self._encoders:
            return
        self.connect()
        e = self.config.encoder
        resources = {"num_gpus": e.gpus_per_actor} if e.gpus_per_actor else {"num_cpus": 1}
        packed = {"scheduling_strategy": "DEFAULT"} if self.config.generator.tensor_parallel_size > 1 else {}
        actor = ray.remote(EncoderActor).options(**resources, **ANYWHERE | packed)
        self._encoders = [actor.remote(e) for _ in range(self._shares(engines_too=bool(self._engines)).encoders)]
        self._encoders_up = [encoder.dimension.remote() for encoder in self._encoders]

    def _shares(self, *, engines_too: bool = True) -> Shares:
        """How many engines and encoders fit on what there is, or what the autoscaler can bring."""
        has = cluster()
        return shares(self.config, gpus(), has.get("CPU", 0.0), engines_too=engines_too, firm=self._started)

    def check(self, *asked: Asked) -> None:
        """Raises `UsageError` for what fits no node of this machine's own cluster, or that an autoscaler may bring.

        Nodes of another may still join it: there the wait for the actors ends, and says what has no place.
        """
        if self._started or grows():
            check(asked, nodes())

    def handles(self, root: Location, indexes: Sequence[tuple[Manifest, Origin]], *, distils: bool = False) -> Handles:
        """What a row's coroutine works with: generator, encoder, and the shards of `indexes`; all start together."""
        self.start()
        distiller = None if self.config.distils_itself or not distils else self.distiller()
        found = self.searched(root, indexes)
        return Handles(found.encoder, found.shards, self.generator(), distiller=distiller, rerank=found.rerank)

    def searched(self, root: Location, indexes: Sequence[tuple[Manifest, Origin]]) -> Searched:
        """The encoder and the shards of `indexes` alone."""
        shards = [s for m, origin in indexes for s in self.shards(root, m, origin)]
        encoder = self.encoder()
        return Searched(encoder, shards, rerank=partial(RemoteReranker, encoder))

    def shards(self, root: Location, manifest: Manifest, origin: Origin) -> list[RemoteShard]:
        """An actor for every shard of the index.

        The next index of this origin is opened in the same actors: a bench looks at many write-back libraries.
        """
        self.connect()
        share = self.config.index.gpus_per_shard if origin == "base" else 0.0  # units are few
        resources = {"num_gpus": share} if share else {"num_cpus": 0.1}
        actor = ray.remote(ShardActor).options(**resources, **ANYWHERE)
        found = []
        for place in range(len(manifest.shards)):
            if (origin, place) not in self._shards:
                self._shards[origin, place] = actor.remote(str(root.resolve()), share > 0)
            found.append(RemoteShard(self._shards[origin, place], manifest.only(place), origin))
        opening = [shard.actor.open.remote(shard.index, origin) for shard in found]
        wait(opening, "the index's shards", self.config.ray.start_timeout_s)
        return found

    def gpus(self) -> float:
        """How many GPUs the cluster has, or brings."""
        self.connect()
        return gpus()

    def free_engines(self) -> None:
        """Stop the engines in order; the next call starts them anew."""
        engines = [engine for pool in self._engines.values() for engine in pool.engines]
        if closing := [engine.close.remote() for engine in engines]:  # one that is dead is passed over
            ray.wait(closing, num_returns=len(closing), timeout=CLOSING_S)
        for engine in engines:
            ray.kill(engine)
        self._engines = {}

    def close(self) -> None:
        """Stop the engines in order, then leave Ray, unless it was there before this session."""
        if not self._connected:
            return
        if ray.is_initialized():
            self.free_engines()
            for actor in [*self._encoders, *self._shards.values()]:
                ray.kill(actor)
            if self._started:
                self._head.set()
                ray.shutdown()
        self._head.set()
        self._engines, self._encoders, self._encoders_up, self._shards = {}, [], [], {}
        self._connected = self._started = False


def gpus() -> float:
    """How many GPUs the cluster has, or an autoscaler brings once an actor asks for them."""
    return cluster().get("GPU", 0.0)


def wait(refs: list[Any], what: str, limit_s: float, at_least: int | None = None) -> None:
    """Until all, or `at_least` so many, are up. Says once a minute what is waited for, and not for ever.

    Raises what kept one of them from coming up.
    """
    wanted, start = len(refs) if at_least is None else at_least, time.monotonic()
    done: list[Any] = []
    with translated(f"the start of {what}"):
        while refs and len(done := ray.wait(refs, num_returns=wanted, timeout=min(SAYS_S, limit_s))[0]) < wanted:
            waited, free, whole = time.monotonic() - start, ray.available_resources(), ray.cluster_resources()
            left = ", ".join(f"{free.get(kind, 0):g} of {whole.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
            said = f"{wanted - len(done)} of {wanted} still to come up after {waited:.0f} s ({left} free)"
            if named := pending():
                said += f", and without a place are {named}"
            if waited > limit_s:
                raise WbragError(
                    f"expected {what} within {limit_s:.0f} s, found {said}: add nodes, ask for fewer, "
                    "or raise ray.start_timeout_s"
                )
            log.warning("%s: %s", what, said)
        ray.get(done)
