"""The grid over a real endpoint: unattended, and a second run asks nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.integration.conftest import ITEMS, config
from tests.support.openai_server import OpenAIServer
from wbrag.bench.tables import markdown
from wbrag.workspace import Workspace

pytestmark = pytest.mark.integration


def test_a_grid_runs_and_a_second_run_asks_nothing(
    copy: Path, data: Path, endpoint: OpenAIServer, tmp_path: Path
) -> None:
    suite = {
        "name": "toy",
        "corpus": {"path": "corpus.jsonl"},
        "examples": {"toy/test": {"path": "train.jsonl"}},
        "sets": {"toy": {"train": "toy/train", "test": "toy/test", "train_limit": 8, "test_limit": 6}},
        "methods": ["naive", "iter_retgen"],
        "controls": ["copies"],
    }
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(suite), encoding="utf-8")
    with Workspace(copy, config(endpoint)) as workspace:
        first = workspace.bench(file, data)
        asked = len(endpoint.requests)
        again = workspace.bench(file, data)
        assert len(endpoint.requests) == asked, "a finished row was asked again"
    arms = {(r["method"], r["arm"]): r for r in first.scores}
    assert len(arms) == 2 * 4 and all(r["n"] == 6 and r["errors"] == 0 for r in first.scores)
    assert arms["naive", "closed_book"]["score"] == 0 < arms["naive", "base"]["score"]
    assert arms["iter_retgen", "base"]["retrievals"] == 3 and arms["naive", "writeback"]["writeback_share"] > 0
    assert {r["over"] for r in first.comparisons} == {"closed_book", "base", "control_copies"}
    assert all(r["units"] > 0 and r["examples"] == 8 < len(ITEMS) for r in first.construction)
    assert markdown(again) == markdown(first)
    assert json.loads(json.dumps(again.comparisons)) == first.comparisons
