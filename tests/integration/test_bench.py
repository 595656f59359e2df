"""The grid over a real endpoint, on every host: unattended, and a second run asks nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.hosts import Host
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, reader
from wbrag.core.errors import UsageError
from wbrag.evaluation.bench.tables import markdown

RECORDS = ("scores", "comparisons", "construction", "strata")
pytestmark = pytest.mark.integration


def test_a_grid_runs_and_a_second_run_asks_nothing(
    copy: Path, data: Path, endpoint: OpenAIServer, host: Host, tmp_path: Path
) -> None:
    suite = {
        "name": "toy",
        "examples": {"toy/test": {"path": "train.jsonl"}},
        "sets": {
            "toy": {"train": "toy/train", "test": "toy/test", "train_limit": 8, "test_limit": 6},
            "few": {"train": "toy/train", "test": "toy/test", "train_limit": 8, "test_limit": 3, "methods": ["naive"]},
        },
        "methods": ["naive", "iter_retgen"],
        "controls": ["copies", "rows"],
        "pools": {"both": ["toy", "few"]},
    }
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(suite), encoding="utf-8")
    with host.workspace(copy, endpoint, ray={"block_rows": 12}) as workspace:
        part = workspace.bench(file, data, sets=["toy"])
        first = workspace.bench(file, data, sets=["few"])
        asked = len(endpoint.requests)
        again = workspace.bench(file, data)
        assert len(endpoint.requests) == asked, "a finished row was asked again"
        with pytest.raises(UsageError, match="expected one of few, toy"):
            workspace.bench(file, data, sets=["other"])
    assert {r["set"] for r in part.scores} == {"toy"} and not part.pooled
    assert {r["sets"] for r in again.pooled} == {2} and again.pooled == first.pooled
    assert {r["set"]: len(r["scores"]) for r in again.questions} == {"toy": 5, "few": 5}
    first = replace(first, **{name: _of_set(getattr(first, name), "toy") for name in RECORDS})
    again = replace(again, **{name: _of_set(getattr(again, name), "toy") for name in RECORDS})
    arms = {(r["method"], r["arm"]): r for r in first.scores}
    assert len(arms) == 2 * 5 and all(r["n"] == 6 and r["errors"] == 0 for r in first.scores)
    assert arms["naive", "closed_book"]["score"] == 0 < arms["naive", "base"]["score"]
    assert arms["iter_retgen", "base"]["retrievals"] == 3 and arms["naive", "writeback"]["writeback_share"] > 0
    assert {r["over"] for r in first.comparisons} == {"closed_book", "base", "control_copies", "control_rows"}
    assert {r["stratum"] for r in first.strata} == {"unknown"}, "these questions name no gold passage"
    of_base = {r["method"]: r["gain"] for r in first.comparisons if r["over"] == "base"}
    assert {r["method"]: r["gain"] for r in first.strata if r["over"] == "base"} == of_base
    assert all(r["units"] > 0 and r["examples"] == 8 < len(ITEMS) for r in first.construction)
    assert markdown(again) == markdown(first)
    assert json.loads(json.dumps(again.comparisons)) == first.comparisons


def _of_set(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["set"] == name]


def test_sweeps_and_controls_repeat_no_gate_call(
    copy: Path, data: Path, endpoint: OpenAIServer, host: Host, tmp_path: Path
) -> None:
    """Only distillations and the held-out answers may be asked once the scores are recorded."""
    suite: dict[str, object] = {
        "name": "toy",
        "examples": {"toy/test": {"path": "train.jsonl"}},
        "sets": {"toy": {"train": "toy/train", "test": "toy/test", "train_limit": 12, "test_limit": 4}},
        "studies": {"training_size": [1.0]},
    }
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(suite), encoding="utf-8")
    more = {
        "controls": ["random", "no_utility_gate", "no_document_gate"],
        "studies": {
            "sweeps": {"tau_s": [0.5], "tau_delta": [0.2], "tau_doc": [0.9], "n_min": [3]},
            "training_size": [1.0],
            "gate_metric": ["em"],
            "near_duplicates": [0.9],
            "cross": True,
        },
        "methods": ["naive", "iter_retgen"],
    }
    with host.workspace(copy, endpoint, ray={"block_rows": 12}) as workspace:
        first = workspace.bench(file, data)
        file.write_text(yaml.safe_dump({**suite, **more, "methods": ["naive"]}), encoding="utf-8")
        asked = len(endpoint.requests)
        second = workspace.bench(file, data)
        new = [request["messages"] for request in endpoint.requests[asked:]]
        file.write_text(yaml.safe_dump({**suite, **more}), encoding="utf-8")
        third = workspace.bench(file, data)
        drawn = {limit: {e.id for e in workspace.examples("toy/train", limit)} for limit in (4, 12)}
    trained = [ITEMS[int(id[1:])] for id in drawn[12] - drawn[4]]  # asked about in training alone
    assert len(trained) == 8, "a smaller sample is not part of a larger one"
    gate_calls = [
        messages
        for messages in new
        if not any(word in str(messages) for word in ("Select up to", "title line"))
        and any(f"code of {item}?" in messages[-1]["content"] for item in trained)
    ]
    assert new and not gate_calls
    studies = {"tau_s", "tau_delta", "tau_doc", "n_min", "training_size", "gate_metric", "near_duplicates"}
    assert {p["study"] for p in second.points} == studies
    whole = next(p for p in second.points if (p["study"], p["value"]) == ("training_size", 1.0))
    assert whole["score"] == first.points[0]["score"] and whole["distilled"] == 0
    controls = {f"control_{name}" for name in ("random", "no_utility_gate", "no_document_gate")}
    assert {r["arm"] for r in second.scores} >= controls
    assert [p["value"] for p in third.points if p["study"] == "cross"] == ["default naive", "default iter_retgen"]


def test_other_k_the_empty_prompt_and_scores_that_are_asked_for(
    copy: Path, data: Path, host: Host, tmp_path: Path
) -> None:
    file = tmp_path / "toy.yaml"
    suite = {
        "name": "toy",
        "examples": {"toy/test": {"path": "train.jsonl"}},
        "sets": {"toy": {"train": "toy/train", "test": "toy/test", "train_limit": 6, "test_limit": 4}},
        "studies": {"top_k": [1], "empty_prompt": True, "gate_metric": ["judge", "logprob"]},
    }
    file.write_text(yaml.safe_dump(suite), encoding="utf-8")
    with (
        OpenAIServer(reply=reader, vllm=True) as server,
        host.workspace(copy, server, ray={"block_rows": 12}) as workspace,
    ):
        bench = workspace.bench(file, data)
    values = {(p["study"], p["value"]) for p in bench.points}
    assert values == {
        ("top_k", 1),
        ("closed_book", "task's prompt"),
        ("closed_book", "empty documents"),
        ("gate_metric", "judge"),
        ("gate_metric", "logprob"),
    }
    for asked in (p for p in bench.points if p["value"] in ("judge", "logprob")):
        assert 0 <= asked["agreement"] <= 1 and -1 <= asked["kappa"] <= 1


def test_variants_in_which_units_take_the_place_of_their_sources(
    copy: Path, data: Path, endpoint: OpenAIServer, host: Host, tmp_path: Path
) -> None:
    """So do the controls' passages; where a control has no sources, nothing gives way."""
    file = tmp_path / "toy.yaml"
    suite: dict[str, object] = {
        "name": "toy",
        "examples": {"toy/test": {"path": "train.jsonl"}},
        "sets": {"toy": {"train": "toy/train", "test": "toy/test", "train_limit": 8, "test_limit": 8}},
        "variants": {"beside": {}, "instead": {"retrieval": {"displace_sources": True}}},
        "controls": ["raw", "copies", "rows"],
    }
    file.write_text(yaml.safe_dump(suite), encoding="utf-8")
    with host.workspace(copy, endpoint, ray={"block_rows": 12}) as workspace:
        bench = workspace.bench(file, data)
        file.write_text(yaml.safe_dump({**suite, "studies": {"top_k": [1]}}), encoding="utf-8")
        with pytest.raises(UsageError, match="expected retrieval.displace_sources off in a suite with studies"):
            workspace.bench(file, data)
    share = {(r["model"].partition(", ")[2], r["arm"]): r["writeback_share"] for r in bench.scores}
    for arm in ("writeback", "control_raw", "control_copies"):
        assert share["instead", arm] > share["beside", arm] > 0, arm
    assert share["instead", "control_rows"] == share["beside", "control_rows"] and share["instead", "base"] == 0
