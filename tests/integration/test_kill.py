"""SIGKILL in the middle, for real: what comes after must be what an unbroken run gives."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, Stalling, finished, reader, wbrag
from tests.support.processes import kill_when

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("spread_above", [0, 4096], ids=["Ray Data", "this process"])
def test_enrichment_survives_sigkill(copy: Path, tmp_path: Path, spread_above: int) -> None:
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
            f"--ray.spread_above={spread_above}",
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
    checked = {ITEMS[0]}  # the start check tries the first question, finished or not
    assert not (later - checked) & {ITEMS[int(id[1:])] for id in before}, "a finished row was computed again"


def test_indexing_survives_sigkill(data: Path, indexed: Path, endpoint: OpenAIServer, tmp_path: Path) -> None:
    shutil.copytree(indexed, tmp_path / "w", ignore=shutil.ignore_patterns("index", "embeddings"))
    first = wbrag("index", "--workspace", str(tmp_path / "w"), server=endpoint)
    kill_when(first, lambda: any((tmp_path / "w" / "embeddings").rglob("*.keys.npy")))
    kept = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "w" / "embeddings").rglob("*.keys.npy")}
    second = wbrag("index", "--workspace", str(tmp_path / "w"), "--json", server=endpoint)
    out, err = second.communicate()
    assert second.returncode == 0, err
    assert json.loads(out)["passages"] == len(ITEMS)
    after = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "w" / "embeddings").rglob("*.keys.npy")}
    assert kept.items() <= after.items(), "a finished block was embedded again"
    assert (tmp_path / "w" / "index" / "base.json").read_text() == (indexed / "index" / "base.json").read_text()
