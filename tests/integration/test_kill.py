"""SIGKILL in the middle, for real: what comes after must be what an unbroken run gives."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import ITEMS, Stalling, finished, reader, wbrag
from tests.support.openai_server import OpenAIServer

pytestmark = pytest.mark.integration


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool], seconds: float = 180) -> None:
    """SIGKILL to the driver and all that it started, once `ready()`; on return none of them can write any more."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "the run did not get that far"
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    driver = psutil.Process(process.pid)
    family = [driver, *driver.children(recursive=True)]  # Ray's workers have process groups of their own
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    process.wait()


def test_enrichment_survives_sigkill(copy: Path, tmp_path: Path) -> None:
    unbroken = tmp_path / "unbroken"
    shutil.copytree(copy, unbroken)
    with Stalling(reply=reader) as server:
        first = wbrag(
            "enrich",
            "--examples",
            "toy/train",
            "--workspace",
            str(copy),
            "--json",
            server=server,
        )
        kill_when(first, lambda: 0 < len(finished(copy / "verdicts")) < len(ITEMS))
        before = finished(copy / "verdicts")
        asked = len(server.requests)
        server.stalls = False
        out, err = (
            second := wbrag("enrich", "--examples", "toy/train", "--workspace", str(copy), "--json", server=server)
        ).communicate()
        assert second.returncode == 0, err
        later = {
            match
            for r in server.requests[asked:]
            for match in re.findall(r"code of (\w+)\?", r["messages"][-1]["content"])
        }
        whole = wbrag("enrich", "--examples", "toy/train", "--workspace", str(unbroken), "--json", server=server)
        expected, err = whole.communicate()
        assert whole.returncode == 0, err
    resumed, reference = json.loads(out), json.loads(expected)
    assert resumed["resumed"] == len(before) and reference["resumed"] == 0
    assert resumed["verdicts_sha256"] == reference["verdicts_sha256"]
    assert (resumed["examples"], resumed["quarantined"]) == (len(ITEMS), 0)
    assert not later & {ITEMS[int(id[1:])] for id in before}, "a finished row was computed again"


def test_indexing_survives_sigkill(data: Path, indexed: Path, endpoint: OpenAIServer, tmp_path: Path) -> None:
    shutil.copytree(indexed, tmp_path / "w", ignore=shutil.ignore_patterns("index", "embeddings"))
    first = wbrag("index", "--workspace", str(tmp_path / "w"), server=endpoint)
    kill_when(first, lambda: any((tmp_path / "w" / "embeddings").rglob("part-*.npy")))
    kept = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "w" / "embeddings").rglob("part-*.npy")}
    second = wbrag("index", "--workspace", str(tmp_path / "w"), "--json", server=endpoint)
    out, err = second.communicate()
    assert second.returncode == 0, err
    assert json.loads(out)["passages"] == len(ITEMS)
    after = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "w" / "embeddings").rglob("part-*.npy")}
    assert kept.items() <= after.items(), "a finished block was embedded again"
    assert (tmp_path / "w" / "index" / "base.json").read_text() == (indexed / "index" / "base.json").read_text()
