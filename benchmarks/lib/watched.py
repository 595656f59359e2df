"""What a command takes with everything it starts: seconds, CPU seconds, and the most memory at any moment.

Memory is what cannot be let go of: anonymous pages of every process, and shared memory (Ray's object store) once.
Mapped files are left out; the system drops them where memory is short.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

LOOKS_S = 0.2  # a process that lives for less may go unseen, and what it used after the last look is not counted


@dataclass
class Took:
    """Of one command; what the block of `watched` sees is of the time so far."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0


def command(arguments: Sequence[str], log: Path, **options: object) -> Took:
    """Run Python with these arguments to its end; raises `RuntimeError` with the end of its log where it fails."""
    with log.open("wb") as out:
        child = subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=out, **options)  # type: ignore[call-overload]
    with watched(lambda: psutil.Process(child.pid)) as took:
        code = child.wait()
    if code:
        raise RuntimeError(f"{' '.join(arguments)[:200]}: exit {code}\n{log.read_text(errors='replace')[-3000:]}")
    return took


@contextmanager
def watched(root: Callable[[], psutil.Process]) -> Iterator[Took]:
    """What `root` and all below it take while the block runs."""
    took, done, used = Took(), threading.Event(), dict[tuple[int, float], float]()
    process, start = root(), time.perf_counter()

    def look() -> None:
        with suppress(psutil.NoSuchProcess):
            held = shared = 0
            for one in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                    times = one.cpu_times()
                    used[one.pid, one.create_time()] = times.user + times.system
                    mine, common = _memory(one.pid)
                    held, shared = held + mine, max(shared, common)
            took.peak_bytes = max(took.peak_bytes, held + shared)
            took.cpu_s, took.seconds = sum(used.values()), time.perf_counter() - start

    def looks() -> None:
        while not done.wait(LOOKS_S):
            look()

    look()
    before = took.cpu_s
    thread = threading.Thread(target=looks, daemon=True)
    thread.start()
    try:
        yield took
    finally:
        done.set()
        thread.join()
        look()
        took.seconds, took.cpu_s = time.perf_counter() - start, took.cpu_s - before


def _memory(pid: int) -> tuple[int, int]:
    """Bytes of anonymous and of shared memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = dict(re.findall(r"^(RssAnon|RssShmem):\s+(\d+) kB$", text, re.MULTILINE))
    return int(found.get("RssAnon", 0)) * 1024, int(found.get("RssShmem", 0)) * 1024
