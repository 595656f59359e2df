"""Fixtures for every test (`pytest_plugins`): a small corpus, a real endpoint that reads it, a workspace over them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, config, reader
from tests.support.toy import write_toy
from wbrag.workspace import Workspace


@pytest.fixture(scope="session")
def endpoint() -> Iterator[OpenAIServer]:
    with OpenAIServer(reply=reader) as server:
        yield server


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """corpus.jsonl and train.jsonl in FlashRAG's format."""
    folder = tmp_path_factory.mktemp("data")
    write_toy(folder, ITEMS)
    return folder


@pytest.fixture(scope="session")
def indexed(data: Path, endpoint: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with its base index, to be copied and not changed."""
    folder = tmp_path_factory.mktemp("indexed")
    with Workspace(folder, config(endpoint)) as workspace:
        workspace.ingest_corpus(data / "corpus.jsonl")
        workspace.ingest_examples(data / "train.jsonl", "toy", "train")
        workspace.index()
    return folder


@pytest.fixture
def copy(indexed: Path, tmp_path: Path) -> Path:
    """A workspace of one's own."""
    shutil.copytree(indexed, tmp_path / "workspace")
    return tmp_path / "workspace"
