"""Builds under way: a file beside the index that says so, since what is built is named by nothing until it is whole."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wbrag.core.io.files import Location, write_atomically

FILE = "building.json"
FORGOTTEN_S = 7 * 86_400.0  # a build that was killed leaves its file


@contextmanager
def under_way(root: Location) -> Iterator[None]:
    """An index is being built in `root` while the block runs."""
    told = {"host": socket.gethostname(), "process": os.getpid(), "began": time.strftime("%Y-%m-%d %H:%M")}
    write_atomically(root / FILE, json.dumps(told) + "\n")
    try:
        yield
    finally:
        (root / FILE).unlink(missing_ok=True)


def building(root: Location) -> str:
    """Who builds an index in `root`; "" where nobody does."""
    with suppress(FileNotFoundError):
        if time.time() - (root / FILE).stat().st_mtime < FORGOTTEN_S:
            told = json.loads((root / FILE).read_text(encoding="utf-8"))
            return f"one by process {told['process']} of {told['host']} since {told['began']} ({root / FILE})"
    return ""
