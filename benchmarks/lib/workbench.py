"""A workspace of made passages that commands work on, and what each of them takes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.measured import BENCHMARKS, Figure
from lib.watched import Took, command

MB = 1 << 20
Step = tuple[str, Took, int]  # its name, what it took, and the bytes that it wrote into the workspace


class Workbench:
    """A folder with one workspace; every step is a command in a process of its own."""

    def __init__(self, folder: Path, encoder: Path, **settings: Any) -> None:
        self.folder = folder
        self.workspace = folder / "workspace"
        self.workspace.mkdir(parents=True)
        settings["encoder"] = {"model": str(encoder)}
        (self.workspace / "settings.yaml").write_text(json.dumps(settings), encoding="utf-8")
        root = str(BENCHMARKS.parent)
        self.environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{BENCHMARKS}"}

    @property
    def settings(self) -> list[str]:
        return [f"--workspace={self.workspace}", f"--config={self.workspace / 'settings.yaml'}"]

    def step(self, name: str, *verb: str) -> Step:
        """A command of wbrag's."""
        return self.python(name, "-m", "wbrag.cli", *verb, *self.settings)

    def python(self, name: str, *arguments: str) -> Step:
        before = time.time()
        took = command(arguments, self.folder / "log.txt", env=self.environment, cwd=self.folder)
        return name, took, self.written(before)

    def written(self, since: float) -> int:
        """Bytes of the files that are new or were written since."""
        found = 0
        for file in self.workspace.rglob("*"):
            with suppress(FileNotFoundError):
                found += file.stat().st_size if file.is_file() and file.stat().st_mtime >= since - 0.01 else 0
        return found


def figures(steps: Iterable[Step], of: str) -> Iterator[Figure]:
    """Four figures of every step, shown as they come; `of` says of what."""
    for name, took, written in steps:
        about = f"{of}: {name}"
        print(f"{about}: {took.seconds:.1f} s, {took.cpu_s:.1f} CPU s, {took.peak_bytes / MB:,.0f} MB", flush=True)
        yield Figure(f"{about}: seconds", round(took.seconds, 2), "s")
        yield Figure(f"{about}: CPU", round(took.cpu_s, 2), "s")
        yield Figure(f"{about}: peak memory", round(took.peak_bytes / MB), "MB")
        yield Figure(f"{about}: written", round(written / MB, 1), "MB")
