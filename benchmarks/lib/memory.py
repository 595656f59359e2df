"""The most memory that a stretch of work took, above what its process held before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Peak:
    """`bytes` are known when the work is done."""

    bytes = 0


@contextmanager
def peak_since() -> Iterator[Peak]:
    """Of this process and this stretch alone: Linux forgets the earlier peak when told to (`man proc`, clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")
    before, peak = _status("VmRSS"), Peak()
    yield peak
    peak.bytes = max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
