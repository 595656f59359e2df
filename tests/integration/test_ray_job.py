"""`ray job submit` against a real head node of this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from tests.integration.conftest import ITEMS, ROOT, settings
from tests.support.openai_server import OpenAIServer
from wbrag.records import read_rows

pytestmark = pytest.mark.integration
RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def head() -> Iterator[str]:
    """A head node in a process group of its own; yields the address for jobs."""
    dashboard = free_port()
    process = subprocess.Popen(
        [
            RAY,
            "start",
            "--head",
            "--block",
            "--num-cpus=8",
            "--node-ip-address=127.0.0.1",
            f"--port={free_port()}",
            f"--dashboard-port={dashboard}",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--ray-client-server-port={free_port()}",
            "--disable-usage-stats",
        ],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{dashboard}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", dashboard), timeout=2).close()
            break
        except OSError:
            assert process.poll() is None, "the head node ended"
            time.sleep(0.5)
    yield address
    started = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for child in started:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait(30)


def test_a_submitted_job_enriches(head: str, copy: Path, endpoint: OpenAIServer, tmp_path: Path) -> None:
    config = {**settings(endpoint), "workspace": str(copy), "job": {"examples": "toy/train"}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    submitted = subprocess.run(
        [
            RAY,
            "job",
            "submit",
            "--address",
            head,
            "--working-dir",
            str(ROOT),
            "--",
            sys.executable,
            "jobs/enrich.py",
            "--config",
            str(tmp_path / "job.yaml"),
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=420,
        env={**os.environ, "RAY_ADDRESS": ""},
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    lines = [line for line in submitted.stdout.splitlines() if line.startswith("{")]
    assert json.loads(lines[-1])["examples"] == len(ITEMS)
    [folder] = (copy / "verdicts").iterdir()
    assert len(read_rows(folder)) == len(ITEMS)
