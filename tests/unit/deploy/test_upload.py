"""What `ray job submit --runtime-env runtime_env.yaml` sends, zipped by Ray's own packaging."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import yaml
from ray._private.runtime_env.packaging import create_package
from ray.dashboard.modules.dashboard_sdk import parse_runtime_env_args
from ray.runtime_env import RuntimeEnv

ROOT = Path(__file__).resolve().parents[3]


def test_the_upload_is_small_and_holds_what_a_job_needs(tmp_path: Path) -> None:
    told = parse_runtime_env_args(runtime_env=str(ROOT / "runtime_env.yaml"))
    RuntimeEnv(**told)  # refuses unknown fields
    create_package(str(ROOT / told["working_dir"]), tmp_path / "upload.zip", True, excludes=told["excludes"])
    with ZipFile(tmp_path / "upload.zip") as package:
        names = set(package.namelist())
    jobs = {f"jobs/{name}.py" for name in ("bench", "enrich", "evaluate", "index")}
    assert jobs <= names and "suites/small.yaml" in names and "cluster.yaml" not in names
    assert {name.split("/")[0] for name in names if "/" in name} == {"jobs", "suites"}
    assert (tmp_path / "upload.zip").stat().st_size < 1e6


def test_settings_beside_the_file_travel(tmp_path: Path) -> None:
    told = yaml.safe_load((ROOT / "runtime_env.yaml").read_text(encoding="utf-8"))
    (tmp_path / "from/wbrag").mkdir(parents=True)
    for name in ("my.yaml", "cluster.yaml", "wbrag/model.safetensors", "corpus.jsonl"):
        (tmp_path / "from" / name).write_text("x", encoding="utf-8")
    create_package(str(tmp_path / "from"), tmp_path / "upload.zip", True, excludes=told["excludes"])
    with ZipFile(tmp_path / "upload.zip") as package:
        assert package.namelist() == ["my.yaml"]
