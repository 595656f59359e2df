"""Units to the hub and corpora from it: the real clients of Hugging Face against a stand-in that speaks its API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.answered import life as life
from tests.support.hub_server import Hub, hub
from tests.support.pipeline import ROOT
from wbrag.workspace import Workspace

pytestmark = pytest.mark.integration
TOKEN = "hf_writes"


@pytest.fixture
def place() -> Iterator[Hub]:
    with hub() as found:
        found.token = TOKEN
        yield found


def wbrag(place: Hub, folder: Path, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """The command line with the hub at the stand-in; the clients read where it is when they are imported."""
    own = {"HF_ENDPOINT": place.url, "HF_HOME": str(folder / "hf"), "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    own |= {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "wbrag.cli", *arguments, "--workspace", str(folder / "w"), "--json"]
    return subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=300)


def test_units_become_a_commit(life: Workspace, place: Hub, tmp_path: Path) -> None:
    done = wbrag(place, tmp_path, "export", "units", "--format", "flashrag", "--to", "hf://lab/units")
    assert done.returncode == 0, done.stderr
    said, sha = json.loads(done.stdout), place.branches["lab/units"]["main"]
    assert said["file"] == f"{place.url}/datasets/lab/units/commit/{sha}" and place.private["lab/units"]
    lines = place.commits["lab/units"][sha]["units.jsonl"].decode().splitlines()
    assert len(lines) == said["units"] and place.messages == [f"wbrag r0001: {said['units']} units"]
    done = wbrag(place, tmp_path, "export", "units", "--format", "parquet", "--to", "hf://lab/units@next")
    assert done.returncode == 0 and "units.parquet" in place.commits["lab/units"][place.branches["lab/units"]["next"]]
    assert place.branches["lab/units"]["main"] == sha


def test_what_the_hub_refuses_is_said(life: Workspace, place: Hub, tmp_path: Path) -> None:
    done = wbrag(place, tmp_path, "export", "units", "--to", "hf://lab/units", token="hf_wrong")
    assert done.returncode == 1 and "HF_TOKEN" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    done = wbrag(place, tmp_path, "export", "units", "--to", "hf://units")
    assert done.returncode == 2 and "expected hf://OWNER/NAME" in done.stderr
    assert not place.commits.get("lab/units")


def test_a_corpus_of_one_revision_and_what_a_filter_lets_pass(place: Hub, tmp_path: Path) -> None:
    rows = [{"id": f"p{i}", "title": "T", "text": f"Text {i}.", "lang": "de" if i % 2 else "en"} for i in range(6)]
    first = place.commit("lab/corpus", {"train.jsonl": jsonl(rows)})
    place.commit("lab/corpus", {"train.jsonl": jsonl(rows[:1])})
    how = ("ingest", "corpus", "lab/corpus", "--format", "hf")
    newest = wbrag(place, tmp_path, *how)
    assert newest.returncode == 0, newest.stderr
    assert json.loads(newest.stdout)["rows"] == 1
    pinned = wbrag(place, tmp_path, *how, "--revision", first, "--filter", '{"lang": "de"}')
    assert pinned.returncode == 0, pinned.stderr
    said = json.loads(pinned.stdout)
    assert (said["rows"], said["filtered"], said["quarantined"]) == (3, 3, 0)
    gone = wbrag(place, tmp_path, *how, "--revision", "gone")
    assert gone.returncode == 1 and "cannot read the Hugging Face dataset lab/corpus" in gone.stderr


def jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
