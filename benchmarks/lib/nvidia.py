"""What `nvidia-smi` says of a GPU while something runs on it."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

EVERY_MS = 250
ASKED = ("utilization.gpu", "memory.used", "power.draw")


@dataclass
class Watched:
    """Samples of the first GPU: when (`time.perf_counter`), busy %, MiB, W. No samples where there is none."""

    name: str = ""
    samples: list[tuple[float, ...]] = field(default_factory=list)

    def mean(self, which: int, since: float, until: float) -> float:
        """Of busy % (1), MiB (2) or W (3), between two moments."""
        found = [sample[which] for sample in self.samples if since <= sample[0] <= until]
        return statistics.fmean(found) if found else float("nan")


@contextmanager
def watched() -> Iterator[Watched]:
    """The GPU, looked at every 250 ms, by a process that uses none of its memory."""
    seen = Watched()
    if shutil.which("nvidia-smi") is None:
        yield seen
        return
    smi = ["nvidia-smi", "--id=0", "--format=csv,noheader,nounits"]
    seen.name = subprocess.run([*smi, "--query-gpu=name"], capture_output=True, text=True).stdout.strip()
    command = [*smi, f"--query-gpu={','.join(ASKED)}", f"--loop-ms={EVERY_MS}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        threading.Thread(target=_read, args=(process, seen), daemon=True).start()
        try:
            yield seen
        finally:
            process.terminate()


def _read(process: subprocess.Popen[str], seen: Watched) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        values = [_number(field) for field in line.split(",")]
        if len(values) == len(ASKED):
            seen.samples.append((time.perf_counter(), *values))


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:  # "[N/A]", as some GPUs say of one or the other
        return float("nan")
