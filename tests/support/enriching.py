"""Fixtures (`pytest_plugins`): one Ray, one encoder and one endpoint for a file of tests, new engines for every run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hosts import renew
from tests.support.openai_server import OpenAIServer
from tests.support.outcome import rows_of
from tests.support.pipeline import ITEMS, config, reader
from wbrag.executor.ray.session import Session
from wbrag.workspace import Workspace


@dataclass
class Place:
    """Where enrichments run."""

    session: Session
    server: OpenAIServer

    def enrich(
        self, folder: Path, examples: str = "toy/train", engines: int = 1, block_rows: int = 4, **generator: object
    ) -> tuple[int, int]:
        """How many examples were there before, and how many are quarantined."""
        asked = {"backend": "openai", "base_url": self.server.url, "model": "tiny", "max_retries": 0, "concurrency": 32}
        settings = {**asked, "engines": (engines, engines), **generator}
        rows = {"block_rows": block_rows, "spread_above": 0}
        chosen = config(self.server, generator=settings, ray=rows)
        renew(self.session, chosen)
        run = Workspace(folder, chosen, session=self.session).verdicts(examples)
        return run.resumed, sum(bool(row["error"]) for row in run.rows)


@pytest.fixture(scope="module")
def models() -> Iterator[Place]:
    with OpenAIServer(reply=reader) as server:
        session = Session(config(server))
        yield Place(session, server)
        session.close()


@pytest.fixture
def folder(index: Path, tmp_path: Path) -> Path:
    """A workspace of one's own."""
    return Path(shutil.copytree(index, tmp_path / "workspace"))


@pytest.fixture
def place(models: Place, unbroken: Path) -> Place:
    """With an endpoint that answers as it should."""
    models.server.reply, models.server.script = reader, []
    models.server.requests.clear()
    return models


@pytest.fixture(scope="module")
def index(data: Path, models: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with its base index, to be copied and not changed; made by the same encoder actor."""
    workspace = Workspace(tmp_path_factory.mktemp("index"), models.session.config, session=models.session)
    workspace.ingest_corpus(data / "corpus.jsonl")
    workspace.ingest_examples(data / "train.jsonl", "toy", "train")
    workspace.index()
    return workspace.path


@pytest.fixture(scope="module")
def unbroken(index: Path, models: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verdicts of a run that nothing disturbs."""
    workspace = Path(shutil.copytree(index, tmp_path_factory.mktemp("unbroken") / "w"))
    assert models.enrich(workspace) == (0, 0)
    assert len(rows_of(workspace / "verdicts")) == len(ITEMS)
    return workspace / "verdicts"
