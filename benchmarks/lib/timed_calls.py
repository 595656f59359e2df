"""When the calls of a pass ended, and how many there were a second between its first and its last tenth."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from wbrag.core.types import Completion, Generator, Messages, Prompt, Sampling, Scored
from wbrag.generators.wrapper import GeneratorWrapper


class TimedGenerator(GeneratorWrapper):
    """`generator`, whose calls' ends are written down."""

    def __init__(self, generator: Generator, file: Path) -> None:
        super().__init__(generator)
        self.out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        found = await super().generate(prompt, sampling)
        self._ended()
        return found

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        found = await super().score(prompt, continuation)
        self._ended()
        return found

    def _ended(self) -> None:
        os.write(self.out, struct.pack("=d", time.monotonic()))


def ends(file: Path) -> list[float]:
    """What `TimedGenerator` has written."""
    return [time for (time,) in struct.iter_unpack("=d", file.read_bytes())]


def middle_rate(times: Sequence[float]) -> float:
    """Calls a second without the first and the last tenth of them: an engine that fills up, and one that runs dry."""
    times, tenth = sorted(times), len(times) // 10
    first, last = times[tenth], times[-1 - tenth]
    return (len(times) - 2 * tenth - 1) / (last - first)
