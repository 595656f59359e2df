"""How a model's process uses the cores of the machine that it shares with others."""

from __future__ import annotations

import os


def openmp(processes: int = 1) -> dict[str, str]:
    """OpenMP's environment for one of so many like processes: its share of the cores, and none while it waits.

    Set in the process itself, for the cores of its own node, before torch is imported. Ray's default is one thread for
    an actor, OpenMP's is that waiting threads spin, on cores where the job's other processes have work to do (figures:
    `benchmarks/LOG.md`).
    """
    return {"OMP_NUM_THREADS": str(max(1, cores() // processes)), "OMP_WAIT_POLICY": "PASSIVE"}


def cores() -> int:
    """Those that this process may run on, which may be fewer than the machine has (taskset, a cpuset)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
