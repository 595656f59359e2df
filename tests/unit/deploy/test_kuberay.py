"""deploy/kuberay against Ray's and Serve's own schemas, and against KubeRay's CRDs where WBRAG_KUBERAY_CRDS names them.

The CRDs are a megabyte each, and no part of any Python package. A checkout of KubeRay has them:

    git clone --depth 1 --branch v1.7.0 https://github.com/ray-project/kuberay
    WBRAG_KUBERAY_CRDS=kuberay/ray-operator/config/crd/bases python -m pytest tests/deploy
"""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS
from ray.scripts.scripts import start
from ray.serve.schema import ServeDeploySchema

from wbrag.cli.parser import parser
from wbrag.core.config import load

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy/kuberay"
FILES = ("rayjob-enrich.yaml", "rayservice.yaml")
CRDS = os.environ.get("WBRAG_KUBERAY_CRDS")


def documents(name: str) -> dict[str, dict[str, Any]]:
    found = yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))
    return {document["kind"]: document for document in found}


def cluster(name: str) -> dict[str, Any]:
    kinds = documents(name)
    return (
        kinds["RayJob"]["spec"]["rayClusterSpec"]
        if "RayJob" in kinds
        else kinds["RayService"]["spec"]["rayClusterConfig"]
    )


def groups(name: str) -> list[dict[str, Any]]:
    spec = cluster(name)
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def container(group: dict[str, Any]) -> dict[str, Any]:
    [only] = group["template"]["spec"]["containers"]
    return only


def closed(schema: Any) -> Any:
    """The schema with every object that names its fields refusing others, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: closed(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        parts.setdefault("additionalProperties", False)
    return parts


@pytest.mark.skipif(not CRDS, reason="set WBRAG_KUBERAY_CRDS to the folder with KubeRay's ray.io_rayjobs.yaml")
@pytest.mark.parametrize(
    "name, kind, plural", [(FILES[0], "RayJob", "rayjobs"), (FILES[1], "RayService", "rayservices")]
)
def test_the_crds_accept_it_and_no_misspelling(name: str, kind: str, plural: str) -> None:
    crd = yaml.safe_load((Path(str(CRDS)) / f"ray.io_{plural}.yaml").read_text(encoding="utf-8"))
    document = documents(name)[kind]
    [version] = [v for v in crd["spec"]["versions"] if document["apiVersion"] == f"ray.io/{v['name']}"]
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes checks it
    validator = Draft202012Validator(schema)
    assert [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(document)] == []
    cluster_key = "rayClusterSpec" if kind == "RayJob" else "rayClusterConfig"
    broken = {**document, "spec": {**document["spec"], cluster_key: {**cluster(name), "autoscaling": True}}}
    assert "autoscaling" in "".join(e.message for e in validator.iter_errors(broken))


@pytest.mark.parametrize("name", FILES)
def test_ray_start_knows_every_parameter(name: str) -> None:
    known = {option.lstrip("-") for parameter in start.params for option in parameter.opts}
    for group in groups(name):
        assert set(group["rayStartParams"]) <= known
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay takes strings alone"


@pytest.mark.parametrize("name", FILES)
def test_it_scales_has_a_token_and_needs_no_root_and_no_volume_claim(name: str) -> None:
    spec = cluster(name)
    assert spec["enableInTreeAutoscaling"] and spec["autoscalerOptions"]["idleTimeoutSeconds"] > 0
    assert spec["authOptions"] == {"mode": "token", "secretName": "wbrag-ray-token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in groups(name):
        pod, ray = group["template"]["spec"], container(group)
        assert pod["restartPolicy"] == "Never", "what autoscaler v2 needs"
        assert pod["securityContext"]["runAsNonRoot"] and not ray["securityContext"]["allowPrivilegeEscalation"]
        assert pod["serviceAccountName"] == "wbrag" and all("valueFrom" in variable for variable in ray["env"])
        assert not any("persistentVolumeClaim" in volume for volume in pod.get("volumes", ()))
        assert {mount["name"] for mount in ray.get("volumeMounts", ())} == {v["name"] for v in pod.get("volumes", ())}
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(r"AKIA|hf_[A-Z]|auth_token:|kind: Secret", text), "a secret in the file"


@pytest.mark.parametrize("name", FILES)
def test_resources_are_firm_and_gpus_are_whole(name: str) -> None:
    for group in groups(name):
        resources = container(group)["resources"]
        assert resources["requests"] == resources["limits"] and {"cpu", "memory"} <= set(resources["limits"])
    workers = {group["groupName"]: group for group in cluster(name)["workerGroupSpecs"]}
    assert {n for n, group in workers.items() if "nvidia.com/gpu" in container(group)["resources"]["limits"]} == {"gpu"}
    assert "nvidia.com/gpu" in {t["key"] for t in workers["gpu"]["template"]["spec"]["tolerations"]}
    assert all(0 < g["minReplicas"] <= g["replicas"] <= g["maxReplicas"] for g in workers.values())


@pytest.mark.parametrize("name", FILES)
def test_the_probes_ask_pages_that_need_no_token(name: str) -> None:
    for group in groups(name):
        ray = container(group)
        pages = {(p["httpGet"]["port"], p["httpGet"]["path"]) for p in (ray["livenessProbe"], ray["readinessProbe"])}
        serving = {(8000, "/-/healthz")} if name == "rayservice.yaml" and "groupName" in group else set()
        assert pages == {(52365, "/api/healthz")} | serving
        assert "/api/healthz" in PUBLIC_EXACT_PATHS
        assert ray["livenessProbe"]["failureThreshold"] * ray["livenessProbe"]["periodSeconds"] >= 60


def test_the_job_is_a_command_that_wbrag_knows(tmp_path: Path) -> None:
    kinds = documents("rayjob-enrich.yaml")
    name, *words = kinds["RayJob"]["spec"]["entrypoint"].split()
    arguments = parser().parse_args(words)
    assert name == "wbrag" and arguments.config.startswith("/etc/wbrag/")
    (tmp_path / "enrich.yaml").write_text(kinds["ConfigMap"]["data"][Path(arguments.config).name], encoding="utf-8")
    config = load(tmp_path / "enrich.yaml")
    assert config.job.examples and config.workspace.startswith("s3://")
    gpu = cluster("rayjob-enrich.yaml")["workerGroupSpecs"][1]
    assert gpu["maxReplicas"] == config.generator.engines[1]
    assert int(container(gpu)["resources"]["limits"]["nvidia.com/gpu"]) == config.generator.tensor_parallel_size
    assert kinds["RayJob"]["spec"]["backoffLimit"] > 0 and kinds["RayJob"]["spec"]["shutdownAfterJobFinishes"]


def test_serve_accepts_the_application_and_it_is_that_of_the_config_file() -> None:
    spec = documents("rayservice.yaml")["RayService"]["spec"]
    written = yaml.safe_load(spec["serveConfigV2"])
    local = yaml.safe_load((ROOT / "serve/config.yaml").read_text(encoding="utf-8"))
    for told in (written, local):
        ServeDeploySchema.model_validate(told)
        assert set(told) <= set(ServeDeploySchema.model_fields)
        [application] = told["applications"]
        assert load(**application["args"]).serving.gateways
    [here], [there] = local["applications"], written["applications"]
    assert {**here, "import_path": "", "args": 0} == {**there, "import_path": "", "args": 0}
    assert local.keys() == written.keys() and local["http_options"]["port"] == written["http_options"]["port"]
    assert written["http_options"]["host"] == there["args"]["serving"]["host"] == "0.0.0.0"
    assert resolves(here["import_path"]) is resolves(there["import_path"])
    low, high = zip(*(there["args"]["serving"][name] for name in ("gateways", "retrievers")))
    assert min(low) >= 2, "one replica lost would be the endpoint lost"
    gpu = cluster("rayservice.yaml")["workerGroupSpecs"][1]
    assert gpu["maxReplicas"] == there["args"]["serving"]["generators"][1] and max(high) <= 4


def resolves(import_path: str) -> Any:
    module, name = import_path.split(":")
    return getattr(importlib.import_module(module), name)
