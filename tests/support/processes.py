"""Commands in child processes: killed with everything that they started."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import psutil


def free_port() -> int:
    """One of this machine that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool], seconds: float = 600) -> None:
    """SIGKILL to the driver and all that it started, once `ready()`; on return none of them can write any more."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "the run did not get that far"
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    driver = psutil.Process(process.pid)
    family = [driver, *driver.children(recursive=True)]  # Ray's workers have process groups of their own
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    _, alive = psutil.wait_procs(family, timeout=180)
    assert not alive
    process.wait()
