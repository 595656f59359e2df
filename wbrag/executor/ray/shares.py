"""Shares: how many engines and encoders are started, so that all that is asked for can be placed at once.

The least of each comes first, then engines up to their most, then encoders. Nothing waits for a GPU or a core that
never comes.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from wbrag.core.config import Config
from wbrag.core.errors import UsageError


class Shares(NamedTuple):
    """Replicas to start."""

    engines: int
    encoders: int
    distillers: int = 0  # engines of the distiller's own model


DISPATCH = 0.5  # CPUs of the process that hands rows to the engines
SHARD = 0.1  # CPUs of one that holds a shard; those of actors with a model are 1, as Ray counts them


def shares(config: Config, gpus: float, cpus: float = inf, *, engines_too: bool = True, firm: bool = True) -> Shares:
    """As many as fit on so many GPUs and CPUs; raises `UsageError` where the least of each does not.

    `engines_too`: engines are started beside the encoders. What is short of cores is no error where the cluster may
    still grow (not `firm`): then the least is started, and waited for.
    """
    g, e, d = config.generator, config.encoder, config.distiller.generator
    engine = float(g.tensor_parallel_size) if gpus and g.backend == "vllm" else 0.0
    writer = float(d.tensor_parallel_size) if gpus and d.backend == "vllm" and d.model else 0.0
    shards = config.index.shards * config.index.gpus_per_shard
    least = g.engines[0] * engine + d.engines[0] * writer + e.actors[0] * e.gpus_per_actor + shards
    also = f", {d.engines[0]} of the distiller's of {writer:g}" if writer else ""
    if least > gpus + 1e-6:
        raise UsageError(
            f"expected {least:g} GPUs for {g.engines[0]} engines of {engine:g}{also}, {e.actors[0]} encoders of "
            f"{e.gpus_per_actor:g} and {config.index.shards} shards of {config.index.gpus_per_shard:g}, found "
            f"{gpus:g} in the cluster: lower generator.engines, encoder.gpus_per_actor (0.1 shares one, 0: CPU) or "
            "index.gpus_per_shard"
        )
    cores = cpus - _least_cpus(config, engines_too)
    if cores < -1e-6 and firm:
        raise UsageError(
            f"expected {_least_cpus(config, engines_too):g} CPUs for {g.engines[0]} engines and their rows, "
            f"{e.actors[0]} encoders and {config.index.shards} shards, found {cpus:g} in the cluster: "
            "lower generator.engines or encoder.actors, or add nodes"
        )
    left, cores = gpus - least, max(0.0, cores)
    engines, left, cores = _most(g.engines, engine, left, 1, cores)
    writers = 0
    if d.model:
        writers, left, cores = _most(d.engines, writer, left, 1, cores)
    return Shares(engines, _most(e.actors, e.gpus_per_actor, left, 1, cores)[0], writers)


def _least_cpus(config: Config, engines_too: bool) -> float:
    g, e, d = config.generator, config.encoder, config.distiller.generator
    shard = 1.0 if config.index.gpus_per_shard else SHARD
    writers = d.engines[0] if d.model else 0
    engines = g.engines[0] + DISPATCH + writers if engines_too else 0.0
    return engines + e.actors[0] + config.index.shards * shard


def _most(bounds: tuple[int, int], gpu: float, gpus: float, cpu: float, cpus: float) -> tuple[int, float, float]:
    """How many of at most `bounds[1]` there are, each of so much, and what that leaves of what the least left."""
    low, high = bounds
    more = high - low
    if gpu:
        more = min(more, int(gpus / gpu + 1e-6))
    if cpus < inf:
        more = min(more, int(cpus / cpu + 1e-6))
    return low + more, gpus - more * gpu, cpus - more * cpu
