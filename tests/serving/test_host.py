"""The application as Ray Serve sees it, without starting Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from serve.app import build
from wbrag.errors import UsageError
from wbrag.sections import ServingConfig

ROOT = Path(__file__).resolve().parents[2]
ENDPOINT = {"backend": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}


def deployments(**settings: Any) -> dict[str, Any]:
    app = build_app(build(settings), name="wbrag", default_runtime_env={})
    return {deployment.name: deployment for deployment in app.deployments}


def test_the_config_file_fits_serves_schema() -> None:
    found = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "serve" / "config.yaml").read_text()))
    [app] = found.applications
    assert (app.import_path, found.http_options.port) == ("serve.app:build", ServingConfig().port)
    built = deployments(**app.args, generator=ENDPOINT)
    assert set(built) == {"Gateway", "Retriever"}


def test_bounds_and_resources_come_from_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    settings = {
        "generator": ENDPOINT,
        "serving": {"gateways": [2, 2], "retrievers": [1, 3], "drain_s": 7},
        "encoder": {"gpus_per_actor": 0.25},
        "index": {"gpus_per_shard": 0.25, "shards": 2},
    }
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    built = deployments(config=str(file))
    gateway, retriever = built["Gateway"], built["Retriever"]
    assert gateway.num_replicas == 2
    scaling = retriever._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 3)
    assert retriever.ray_actor_options["num_gpus"] == 0.75
    assert gateway._deployment_config.graceful_shutdown_timeout_s == 12
    for deployment in (gateway, retriever):  # the gateway answers 429; Serve has nothing to refuse
        assert deployment.max_ongoing_requests > 10_000 and deployment.max_queued_requests == -1


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(UsageError, match="serving.gateway: unknown setting 'gateway': did you mean 'gateways'"):
        build({"serving": {"gateway": [1, 1]}})
