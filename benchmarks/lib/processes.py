"""CPU seconds by what a process is, for everything that a process has started."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil  # type: ignore[import-untyped]

LOOKS_S = 5.0  # of a process that ends, what it used after the last look is not counted
Times = dict[tuple[int, float], tuple[str, float]]  # by pid and start: what it is, and its CPU seconds


@contextmanager
def cpu_of(parts: Sequence[str]) -> Iterator[Counter[str]]:
    """CPU seconds of this process and all below it while the block runs, filled in at its end.

    By the first of `parts` that a process's command line holds; else `the rest`.
    """
    found: Counter[str] = Counter()
    root, done = psutil.Process(), threading.Event()
    before, seen = _times(root, parts), Times()

    def look() -> None:
        while not done.wait(LOOKS_S):
            seen.update(_times(root, parts))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        for process, (part, seconds) in (seen | _times(root, parts)).items():
            found[part] += seconds - before.get(process, ("", 0.0))[1]  # type: ignore[assignment]


def cpu_seconds(root: psutil.Process, parts: Sequence[str]) -> Counter[str]:
    """So far, of `root` and all below it, by part as above."""
    found: Counter[str] = Counter()
    for part, seconds in _times(root, parts).values():
        found[part] += seconds  # type: ignore[assignment]
    return found


def _times(root: psutil.Process, parts: Sequence[str]) -> Times:
    found: Times = {}
    for process, part in family(root, parts):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[process.pid, process.create_time()] = part, times.user + times.system
    return found


def family(root: psutil.Process, parts: Sequence[str]) -> Iterator[tuple[psutil.Process, str]]:
    """`root` and all below it, each by part as above."""
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            title = " ".join(process.cmdline())
            yield process, next((name for name in parts if name in title), "the rest")
