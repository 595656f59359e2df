"""cluster.yaml against Ray's own schema and defaults, and against what this project promises of it."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def filled(written: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` reads it, with Ray's defaults."""
    return prepare_config(copy.deepcopy(written))


def test_ray_accepts_it(filled: dict[str, Any]) -> None:
    validate_config(filled)


def test_ray_refuses_a_word_it_does_not_know(written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="idle_timeout"):
        validate_config(prepare_config({**copy.deepcopy(written), "idle_timeout": 5}))
    broken = copy.deepcopy(written)
    broken["available_node_types"]["cpu"]["spot"] = True
    with pytest.raises(ValidationError, match="spot"):
        validate_config(prepare_config(broken))


def test_nodes_come_and_go_and_enrichment_is_on_spot(filled: dict[str, Any]) -> None:
    nodes = filled["available_node_types"]
    head = nodes.pop(filled["head_node_type"])
    assert head["resources"] == {"CPU": 0} and "InstanceMarketOptions" not in head["node_config"]
    assert all(node["min_workers"] == 0 for node in nodes.values()) and filled["idle_timeout_minutes"] > 0
    spot = {
        n for n, node in nodes.items() if node["node_config"].get("InstanceMarketOptions", {}) == {"MarketType": "spot"}
    }
    gpu = {n for n, node in nodes.items() if node["resources"].get("GPU")}
    assert {n for n in gpu if nodes[n]["max_workers"]} <= spot, "a GPU node that is no spot node can start"
    kinds = {nodes[n]["node_config"]["InstanceType"].split(".")[0] for n in gpu & spot}
    assert kinds == {"p5en", "p4d"} and spot - gpu, "no spot nodes without a GPU"


def test_the_doors_are_shut(written: dict[str, Any]) -> None:
    for name, node in written["available_node_types"].items():
        config = node["node_config"]
        assert config["SecurityGroupIds"], f"{name}: Ray would make a group that lets the world in by ssh"
        assert config["MetadataOptions"]["HttpTokens"] == "required"
    assert "--env RAY_AUTH_MODE=token" in " ".join(written["docker"]["run_options"])
    assert written["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    [head] = [c for c in written["head_start_ray_commands"] if "--head" in c]
    assert "--dashboard-host=127.0.0.1" in head and "--ray-client" not in head
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    assert not re.search("RAY_AUTH_TOKEN=|AKIA|hf_[A-Za-z0-9]", text), "a secret in the file"


def test_setup_installs_this_checkout_alone(written: dict[str, Any]) -> None:
    [project] = written["setup_commands"]
    [where] = [remote for remote, local in written["file_mounts"].items() if local == "."]
    assert project.endswith(f"--no-deps --no-build-isolation {where}")
    assert not {"wbrag", "requirements", "pyproject.toml", "README.md", "LICENSE"} & set(written["rsync_exclude"])
    pins = (ROOT / "requirements/cpu.txt").read_text(encoding="utf-8")
    assert "\nboto3==" in pins, "what the autoscaler speaks to AWS with is in the head's image"
    assert "head_setup_commands" not in written


def test_gpus_are_seen_where_there_are_some_and_a_token_travels(written: dict[str, Any]) -> None:
    for name, node in written["available_node_types"].items():
        options = " ".join(node.get("docker", {}).get("worker_run_options", []))
        assert ("NVIDIA_VISIBLE_DEVICES=all" in options) == bool(node["resources"].get("GPU")), name
    assert "~/.cache/huggingface/token" in written["file_mounts"]
