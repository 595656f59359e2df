"""Counts that processes of one benchmark keep for it: a small file each, mapped, summed by whoever looks."""

from __future__ import annotations

import mmap
import os
import struct
from collections import Counter
from pathlib import Path

FOLDER = "WBRAG_BENCH_COUNTS"  # where they are; set by the benchmark before it starts anything


class Count:
    """One process's count of one thing."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 8)
        self.value = 0

    def add(self, more: int = 1) -> None:
        self.value += more
        self._memory[:] = struct.pack("<q", self.value)


def counter(name: str) -> Count:
    """This process's count of what is called `name`."""
    return Count(Path(os.environ[FOLDER]) / f"{name}-{os.getpid()}")


def counted() -> Counter[str]:
    """All counts so far, by name."""
    found: Counter[str] = Counter()
    for file in Path(os.environ[FOLDER]).iterdir():
        found[file.name.rpartition("-")[0]] += struct.unpack("<q", file.read_bytes())[0]
    return found
