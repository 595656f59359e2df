"""CPU seconds of a benchmark's processes and of their threads, looked at while it runs, and what a part of it took."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from lib.processes import family

LOOKS_S = 1.0
TICKS = os.sysconf("SC_CLK_TCK")
Thread = tuple[int, int]  # process and thread


@dataclass
class Look:
    """What was so at one moment; `own_s` are the CPU seconds of looking, which count to nothing."""

    at: float
    calls: int
    own_s: float
    cpu: dict[Thread, tuple[str, float]]  # role and seconds


@dataclass
class Looks:
    """All of a run."""

    seen: list[Look] = field(default_factory=list)

    def middle(self, cut: float = 0.1) -> tuple[Look, Look]:
        """The looks between which all but the first and the last tenth were made. Ends a run too short for two."""
        first, last = self.seen[0].calls, self.seen[-1].calls
        low, high = first + cut * (last - first), last - cut * (last - first)
        begun = next(look for look in self.seen if look.calls >= low)
        ended = next(look for look in reversed(self.seen) if look.calls <= high)
        if ended.calls <= begun.calls:
            raise SystemExit(f"expected calls for some seconds, found {last - first} in all: ask for more --examples")
        return begun, ended


def by_role(begun: Look, ended: Look) -> Counter[str]:
    """CPU seconds between two looks by what a process is."""
    found: Counter[str] = Counter()
    for thread, (role, seconds) in ended.cpu.items():
        found[role] += seconds - begun.cpu.get(thread, ("", 0.0))[1]  # type: ignore[assignment]
    found["driver"] -= ended.own_s - begun.own_s  # type: ignore[assignment]
    return found


def busiest(begun: Look, ended: Look, but: str = "") -> tuple[str, float]:
    """The thread with the most CPU between two looks, by its role, and its share of a core; `but` one role's."""
    share = {
        thread: (role, (seconds - begun.cpu.get(thread, ("", 0.0))[1]) / (ended.at - begun.at))
        for thread, (role, seconds) in ended.cpu.items()
        if role != but
    }
    return max(share.values(), key=lambda found: found[1])


@contextmanager
def looking(roles: Sequence[str], calls: Callable[[], int]) -> Iterator[Looks]:
    """Look once a second at this process and all below it; a role is the first of `roles` in a command line."""
    found, done, root = Looks(), threading.Event(), psutil.Process()

    def look() -> None:
        while True:
            threads = dict(found.seen[-1].cpu) if found.seen else {}
            threads |= _threads(root, roles)
            found.seen.append(Look(time.monotonic(), calls(), time.thread_time(), threads))
            if done.wait(LOOKS_S):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _threads(root: psutil.Process, roles: Sequence[str]) -> dict[Thread, tuple[str, float]]:
    found: dict[Thread, tuple[str, float]] = {}
    for process, part in family(root, roles):
        role = "driver" if process == root else part
        with suppress(OSError):  # it has ended
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                user, system = (task / "stat").read_text().rpartition(")")[2].split()[11:13]
                found[process.pid, int(task.name)] = role, (int(user) + int(system)) / TICKS
    return found
