"""The benchmarks' modules, for their tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the folder benchmarks/, which is no package: `calls`, or `lib.enrichment`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)
