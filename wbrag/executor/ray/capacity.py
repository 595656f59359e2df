"""Capacity: what a job asks of Ray, compared with what the cluster has or an autoscaler can bring.

Ray itself waits for ever for what no node can hold. What fits no node is refused before anything starts; what waits is
named, by what is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from wbrag.core.errors import UsageError

GIB, MANY = 1 << 30, 1 << 20


@dataclass(frozen=True)
class Asked:
    """An actor's part of a node; `memory` in bytes. `lower` says what helps where no node has so much."""

    what: str
    cpu: float = 0.0
    gpu: float = 0.0
    memory: float = 0.0
    lower: str = "ask for less"

    def fits(self, node: dict[str, float]) -> bool:
        return all(
            wanted <= node.get(kind, 0.0) + 1e-6
            for kind, wanted in (("CPU", self.cpu), ("GPU", self.gpu), ("memory", self.memory))
        )

    def said(self) -> str:
        parts = [f"{self.cpu:g} CPUs" if self.cpu else "", f"{self.gpu:g} GPUs" if self.gpu else ""]
        parts += [f"{self.memory / GIB:.1f} GiB of memory" if self.memory else ""]
        return " and ".join(part for part in parts if part) or "nothing"


def check(asked: Sequence[Asked], nodes: Sequence[dict[str, float]]) -> None:
    """Raises `UsageError` for the first of them that fits none of the `nodes`."""
    for one in asked:
        if nodes and not any(one.fits(node) for node in nodes):
            best = max(nodes, key=lambda node: (one.gpu <= node.get("GPU", 0), node.get("memory", 0)))
            has = Asked("", best.get("CPU", 0), best.get("GPU", 0), best.get("memory", 0)).said()
            raise UsageError(
                f"expected a node with {one.said()} for {one.what}, found none: the largest has {has}; {one.lower}, "
                "or add such a node"
            )


def nodes() -> list[dict[str, float]]:
    """What each node has that is up, and each kind that an autoscaler may bring."""
    up = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return up + [dict(group.resources) for group in _groups()]


def hosts(asked: Asked) -> int:
    """How many nodes could have a place for it, also once an autoscaler has brought all it may."""
    up = sum(asked.fits(node["Resources"]) for node in ray.nodes() if node["Alive"])
    most = [group.max_count for group in _groups() if asked.fits(dict(group.resources))]
    return max(up, MANY if -1 in most else sum(most))  # -1: as many as are asked for


def grows() -> bool:
    """Whether an autoscaler has said what it may bring."""
    return bool(_groups())


def cluster() -> dict[str, float]:
    """What all nodes have together, or will have once the autoscaler has brought what it may."""
    to_come = ray._private.state.state.get_max_resources_from_cluster_config() or {}
    has = ray.cluster_resources()
    return {kind: float(max(has.get(kind, 0), to_come.get(kind, 0))) for kind in {*has, *to_come}}


def pending() -> str:
    """The actors that have no place yet, by kind; empty where all have one."""
    waiting = ("DEPENDENCIES_UNREADY", "PENDING_CREATION")
    kinds = Counter(
        str(actor["ActorClassName"]) for actor in ray._private.state.actors().values() if actor["State"] in waiting
    )
    return ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items()))


def waiting() -> str:
    """`pending`, of a process that is connected; empty for one that is not."""
    return pending() if ray.is_initialized() else ""


def _groups() -> list[Any]:
    config = ray._private.state.state.get_cluster_config()
    return [group for group in getattr(config, "node_group_configs", ()) if group.max_count]
