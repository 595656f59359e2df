"""Progress bar with an ETA: rich's on a terminal, elsewhere a line every few seconds.

It writes to stderr alone; stdout is for a command's result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wbrag.core.plain import plain

UpdateProgress = Callable[[int, int], None]
LINE_INTERVAL_S = 10.0  # where there is no terminal


@contextmanager
def bar(label: str, *, shown: bool = True) -> Iterator[UpdateProgress]:
    """Yields `update(done, total)`."""
    label = plain(label)
    if not shown:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        with _rich_bar(label) as update:
            yield update
    else:
        start = time.monotonic()
        yield _lines(label)
        print(f"{label}: done in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def _rich_bar(label: str) -> Iterator[UpdateProgress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<34}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(label: str) -> UpdateProgress:
    start = last = time.monotonic()
    print(f"{label} ...", file=sys.stderr, flush=True)

    def update(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_INTERVAL_S:
            return
        last = now
        eta = f", eta {(now - start) / done * (total - done):.0f} s" if done else ""
        print(f"{label}: {done:,} of {total:,}{eta}", file=sys.stderr, flush=True)

    return update
