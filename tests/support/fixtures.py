"""Fixtures for every test (`pytest_plugins`): a small corpus, and a real endpoint that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, reader
from tests.support.toy import write_toy


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
