"""GPU shares: how many engines and encoders are started, so that all that is asked for can be placed at once.

The least of each comes first, then engines up to their most, then encoders. Nothing waits for a GPU that never comes.
"""

from __future__ import annotations

from typing import NamedTuple

from wbrag.core.config import Config
from wbrag.core.errors import UsageError


class Shares(NamedTuple):
    """Replicas to start."""

    engines: int
    encoders: int
    distillers: int = 0  # engines of the distiller's own model


def shares(config: Config, gpus: float) -> Shares:
    """As many as fit on so many GPUs; raises `UsageError` where the least of each does not."""
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
    left = gpus - least
    engines = _most(g.engines, engine, left)
    left -= (engines - g.engines[0]) * engine
    writers = _most(d.engines, writer, left) if d.model else 0
    left -= (writers - d.engines[0]) * writer
    return Shares(engines, _most(e.actors, e.gpus_per_actor, left), writers)


def _most(bounds: tuple[int, int], each: float, left: float) -> int:
    low, high = bounds
    return high if not each else min(high, low + int(left / each + 1e-6))
