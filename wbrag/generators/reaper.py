"""Orphan reaper: kills this process's vLLM workers once the process is gone, however it went.

An engine that outlives its process keeps its GPU, and no other can start there.
"""

from __future__ import annotations

import multiprocessing
from subprocess import DEVNULL, PIPE, Popen


def die_with_this_process() -> Popen[bytes] | None:
    """A shell that kills this process's present workers once this process is gone, however it went; None without any.

    vLLM's engine is such a worker, and does not notice a SIGKILL of its owner. Kill the shell when the workers stop.
    """
    if not (workers := [str(worker.pid) for worker in multiprocessing.active_children()]):
        return None
    # The other end of the shell's input closes with this process: no one else has it.
    return Popen(
        ["sh", "-c", 'read -r _; kill -KILL "$@"', "sh", *workers],
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,
    )
