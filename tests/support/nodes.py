"""Several nodes on this machine, by Ray's own cluster utility: real raylets, each with workers of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray._private.utils import get_ray_address_file
from ray.cluster_utils import Cluster

WORKER_CPUS = 6
# A lost node is given up after 6 s, in place of 15 s and more; no worker process starts before it is needed.
SYSTEM = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 6,
    "prestart_worker_first_driver": False,
    "enable_worker_prestart": False,
}


@dataclass
class Nodes:
    """A head that runs nothing but the drivers, and workers that come and go."""

    cluster: Cluster = field(default_factory=Cluster)

    def start(self, workers: int) -> None:
        self.cluster.add_node(num_cpus=0, _system_config=SYSTEM, include_dashboard=False)
        for _ in range(workers):
            self.add()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=WORKER_CPUS)

    def lose(self, node: Any) -> None:
        """SIGKILL to the node's raylet and agents; its workers end with them."""
        self.cluster.remove_node(node, allow_graceful=False)

    def lose_head(self) -> None:
        self.cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)

    def lose_workers(self) -> None:
        """The same to all workers, and none of what ran on them is left when this returns."""
        below = psutil.Process().children(recursive=True)
        for node in self.cluster.worker_nodes:
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        _, left = psutil.wait_procs([one for one in below if "ray::" in _title(one)], timeout=120)
        assert not left, left

    def where(self, kind: str) -> list[str]:
        """The node ids of the live actors of class `kind`, one each; `ray.init` must have been called."""
        actors = ray._private.state.actors().values()
        return [
            str(a["Address"]["NodeID"]) for a in actors if a["State"] == "ALIVE" and a["ActorClassName"].endswith(kind)
        ]

    def close(self) -> None:
        if ray.is_initialized():
            ray.shutdown()
        for node in [*self.cluster.worker_nodes, self.cluster.head_node]:
            with suppress(Exception):  # of a head that was killed before
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        Path(get_ray_address_file(None)).unlink(missing_ok=True)  # or "auto" would look for this cluster later


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head and two workers."""
    found = Nodes()
    try:
        found.start(workers=2)
        yield found
    finally:
        found.close()


def _title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def wait_until(ready: Callable[[], Any], what: str, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"expected {what} within {seconds:.0f} s"
        time.sleep(0.05)
