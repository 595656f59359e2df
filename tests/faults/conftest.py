"""The small corpus, endpoint and workspace of the integration tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, copy, data, endpoint, indexed

__all__ = ["copy", "data", "endpoint", "indexed"]


@pytest.fixture(scope="session", autouse=True)
def importable_on_workers() -> Iterator[None]:
    """Ray's workers import the deadly engines of these tests by the tests' names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{Path(__file__).parent}")
        yield
