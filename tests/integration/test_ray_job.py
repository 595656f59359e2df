"""`ray job submit` of index, enrich, evaluate and bench against a real head node of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
import yaml

from tests.support.openai_server import OpenAIServer
from tests.support.outcome import assert_same
from tests.support.pipeline import ITEMS, ROOT, Stalling, config, finished, reader, settings
from tests.support.processes import free_port
from wbrag.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.slow]
RAY = str(Path(sys.executable).with_name("ray"))
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex * 2}  # as on a cluster of cluster.yaml's


@pytest.fixture(scope="module")
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
        env={**os.environ, **TOKEN},
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


@dataclass
class Job:
    """One workspace's settings in a file, and `ray job` with them."""

    head: str
    workspace: Path
    file: Path

    @classmethod
    def of(cls, head: str, workspace: Path, server: OpenAIServer, **more: object) -> Job:
        told = {**settings(server), "workspace": str(workspace), "job": {"examples": "toy/train"}, **more}
        file = workspace.parent / "job.yaml"
        file.write_text(yaml.safe_dump(told), encoding="utf-8")
        return cls(head, workspace, file)

    def entry(self, verb: str, *more: str) -> list[str]:
        return ["--", sys.executable, f"jobs/{verb}.py", "--config", str(self.file), "--json", *more]

    def ray(self, verb: str, *words: str) -> subprocess.Popen[str]:
        """`ray job VERB` from this checkout, as in the README."""
        return subprocess.Popen(
            [RAY, "job", verb, "--address", self.head, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, **TOKEN, "RAY_ADDRESS": ""},
        )

    def submit(self, *words: str) -> str:
        """What the job, or with --no-wait the client, says."""
        submitted = self.ray("submit", "--runtime-env", "runtime_env.yaml", *words)
        out, _ = submitted.communicate(timeout=600)
        assert submitted.returncode == 0, out
        return out

    def run(self, verb: str, *more: str) -> Any:
        """The job's result; its log ends with it."""
        out = self.submit(*self.entry(verb, *more))
        return json.loads([line for line in out.splitlines() if line.startswith("{")][-1])


def test_whoever_has_no_token_is_refused(head: str) -> None:
    assert httpx.get(f"{head}/api/jobs/", timeout=60).status_code == 401
    door = {"Authorization": f"Bearer {TOKEN['RAY_AUTH_TOKEN']}"}
    assert httpx.get(f"{head}/api/jobs/", headers=door, timeout=60).status_code == 200


def test_index(head: str, indexed: Path, endpoint: OpenAIServer, tmp_path: Path) -> None:
    shutil.copytree(indexed, tmp_path / "w", ignore=shutil.ignore_patterns("index", "embeddings"))
    found = Job.of(head, tmp_path / "w", endpoint).run("index")
    assert found["passages"] == len(ITEMS)
    assert (tmp_path / "w/index/base.json").read_text() == (indexed / "index/base.json").read_text()


@pytest.mark.drill
def test_a_stopped_enrichment_goes_on_when_submitted_again(head: str, copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "unbroken")
    with Stalling(reply=reader) as server:
        job = Job.of(head, copy, server)
        job.submit("--no-wait", "--submission-id", "night", *job.entry("enrich"))
        log = job.ray("logs", "-f", "night")
        assert log.stdout
        seen = 0
        for line in log.stdout:  # ends only with the job
            if progress := re.search(rf"finding and distilling .*: (\d+) of {len(ITEMS)}", line):
                seen = int(progress[1])
            if seen:
                break
        before = finished(copy / "verdicts")
        assert 0 < seen <= len(before) < len(ITEMS)
        stopped, _ = job.ray("stop", "night").communicate(timeout=120)
        assert "was stopped" in stopped, stopped
        log.communicate(timeout=120)
        asked, server.stalls = len(server.requests), False
        found = job.run("enrich")
        later = {
            item for r in server.requests[asked:] for item in ITEMS if f"of {item}?" in r["messages"][-1]["content"]
        }
        with Workspace(tmp_path / "unbroken", config(server)) as workspace:
            whole = workspace.enrich("toy/train")
    assert (found["resumed"], found["examples"], found["quarantined"]) == (len(before), len(ITEMS), 0)
    assert found["verdicts_sha256"] == whole["verdicts_sha256"]
    assert_same(copy / "verdicts", tmp_path / "unbroken/verdicts")
    checked = {ITEMS[0]}  # the start check tries the first question, finished or not
    assert not (later - checked) & {ITEMS[int(id[1:])] for id in before}, "a finished row was computed again"


@pytest.mark.drill
def test_evaluate(head: str, copy: Path, endpoint: OpenAIServer) -> None:
    found = Job.of(head, copy, endpoint, job={"examples": "toy/train", "release": "none", "limit": 4}).run("evaluate")
    assert (found["n"], found["errors"], found["score"]) == (4, 0, 1.0)


@pytest.mark.drill
def test_bench(head: str, copy: Path, data: Path, endpoint: OpenAIServer, tmp_path: Path) -> None:
    suite = {
        "name": "toy",
        "examples": {"toy/test": {"path": "train.jsonl"}},
        "sets": {"toy": {"train": "toy/train", "test": "toy/test", "train_limit": 4, "test_limit": 4}},
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    found = Job.of(head, copy, endpoint).run("bench", "--suite", str(tmp_path / "toy.yaml"), "--data", str(data))
    assert {row["arm"] for row in found["scores"]} == {"closed_book", "base", "writeback"}
    assert all((row["n"], row["errors"]) == (4, 0) for row in found["scores"])
