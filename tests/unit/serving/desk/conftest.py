"""One workspace for all tests of the desk; each works on a copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.support.desk import (
    DeskBench,
    desk,
    opened,
    two_releases,
    used,
    workspace,
)
from tests.support.serving import browse


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = workspace(tmp_path_factory.mktemp("desk"))
    two_releases(store)
    used(store)
    return store.path


@pytest.fixture
def bench(made: Path, tmp_path: Path) -> DeskBench:
    return desk(opened(Path(shutil.copytree(made, tmp_path / "copy"))))


@pytest.fixture
def client(bench: DeskBench) -> Iterator[TestClient]:
    with browse(bench.app) as made:
        yield made
