"""A prefix of one's own on a real S3 server of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.s3_server import AT_ONCE, BUCKET, S3Server
from wbrag.core.io import objects
from wbrag.core.io.files import location


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def root(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Any]:
    """A prefix of one's own."""
    s3.use(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WBRAG_RETRY_WAITS", "0.02")
    monkeypatch.setattr(objects, "DELTA_RETRIES", AT_ONCE)
    yield location(f"s3://{BUCKET}/{request.node.originalname}/{len(s3.requests)}")
    s3.fault = None
