"""Where a workspace's rows run in tests: in this process, or on one Ray that all tests share.

The same steps with the same encoder, FAISS and endpoint; a test that takes `host` runs once on each.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
import ray

from tests.support.hostless import ONE_BLOCK, InProcess, Life
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import config
from wbrag.core.config import Config, load
from wbrag.core.model_sections import EncoderConfig
from wbrag.executor.ray.session import Session
from wbrag.retrieval.encoder import BatchedEncoder, Encoder
from wbrag.workspace import Workspace


class Host(Protocol):
    def workspace(self, folder: Path, server: OpenAIServer, **sections: Any) -> Workspace:
        """The workspace in `folder`, answered by `server`, with these settings."""


@dataclass
class Here:
    """In this process."""

    encoder: Encoder

    def workspace(self, folder: Path, server: OpenAIServer, **sections: Any) -> Workspace:
        settings = config(server, **{**sections, "ray": ONE_BLOCK})
        session = InProcess(settings, BatchedEncoder(self.encoder), self.encoder.dimension)
        return Life(folder, settings, session=session)  # type: ignore[arg-type]


@dataclass
class OnRay:
    """On one Ray of this machine; the encoder's actor stays, engines and shards are those of the last workspace."""

    session: Session = field(default_factory=lambda: Session(load()))

    def workspace(self, folder: Path, server: OpenAIServer, **sections: Any) -> Workspace:
        settings = config(server, **sections)
        renew(self.session, settings)
        return Workspace(folder, settings, session=self.session)

    def stop(self) -> None:
        """The next workspace starts Ray anew, with the environment of that time."""
        self.session.close()
        self.session = Session(load())


def renew(session: Session, settings: Config) -> None:
    """Engines and shards start anew with these settings when they are next asked for."""
    engines = [engine for pool in session._engines.values() for engine in pool.engines]
    for actor in [*engines, *session._shards.values()]:
        ray.kill(actor)
    session._engines, session._shards = {}, {}
    session.config = settings


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The embedded encoder, in this process."""
    return Encoder(EncoderConfig())


@pytest.fixture(scope="session")
def here(encoder: Encoder) -> Here:
    return Here(encoder)


@pytest.fixture(scope="session")
def on_ray() -> Iterator[OnRay]:
    shared = OnRay()
    yield shared
    shared.session.close()


@pytest.fixture
def no_ray(on_ray: OnRay) -> None:
    """The shared Ray is stopped: for a test that starts one of its own, or whose environment it must inherit."""
    on_ray.stop()


@pytest.fixture(params=["here", pytest.param("on_ray", marks=pytest.mark.slow)])
def host(request: pytest.FixtureRequest) -> Host:
    """In this process, and in the slow lane on Ray."""
    found: Host = request.getfixturevalue(request.param)
    return found


def prepared(host: Host, folder: Path, data: Path, endpoint: OpenAIServer) -> Path:
    """The toy corpus and its questions, ingested and indexed."""
    with host.workspace(folder, endpoint) as workspace:
        workspace.ingest_corpus(data / "corpus.jsonl")
        workspace.ingest_examples(data / "train.jsonl", "toy", "train")
        workspace.index()
    return folder


@pytest.fixture(scope="session")
def indexed(on_ray: OnRay, data: Path, endpoint: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with its base index, made on Ray, to be copied and not changed."""
    return prepared(on_ray, tmp_path_factory.mktemp("indexed"), data, endpoint)


@pytest.fixture(scope="session")
def indexed_here(here: Here, data: Path, endpoint: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `indexed`, made in this process."""
    return prepared(here, tmp_path_factory.mktemp("indexed_here"), data, endpoint)


@pytest.fixture
def copy(indexed_here: Path, tmp_path: Path) -> Path:
    """An indexed workspace of one's own."""
    return Path(shutil.copytree(indexed_here, tmp_path / "workspace"))
