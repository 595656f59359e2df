"""What the drills share: nodes that die, and engines that Ray's workers import by the tests' names."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nodes import nodes
from tests.support.pipeline import ROOT

__all__ = ["nodes"]


@pytest.fixture(scope="session", autouse=True)
def importable_on_workers() -> Iterator[None]:
    """Ray's workers import the deadly engines of these tests by the tests' names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{Path(__file__).parent}")
        yield
