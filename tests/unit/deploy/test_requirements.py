"""requirements/*.txt: every pin has hashes, the pins are those of pyproject.toml, and CPU sets hold no CUDA build."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {"cpu": ["cpu", "pgvector", "test", "dev"], "gpu": ["gpu", "hf", "pgvector", "test", "dev"]}


def blocks(name: str) -> dict[str, list[str]]:
    """Each pinned requirement with its hashes."""
    text = (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(" --hash=") for line in text.splitlines() if line and line[0] != "#"]
    return {pin.strip(): [value.strip() for value in hashes] for pin, *hashes in lines}


def versions(name: str) -> dict[str, str]:
    pins = [Requirement(pin) for pin in blocks(name)]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


@pytest.mark.parametrize("name", ["uv", "cpu", "gpu"])
def test_every_package_is_pinned_with_hashes(name: str) -> None:
    for pin, hashes in blocks(name).items():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+!]+( ; python_full_version < '3\.\d+')?", pin), pin
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", value) for value in hashes), pin
        assert hashes == sorted(set(hashes)), pin


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_set_holds_what_the_project_asks_for(name: str) -> None:
    pinned = versions(name) | (versions("torch-cpu") if name == "cpu" else {})
    asked = [*PROJECT["dependencies"], *(line for e in EXTRAS[name] for line in PROJECT["optional-dependencies"][e])]
    for requirement in map(Requirement, asked):
        version = pinned[canonicalize_name(requirement.name)]
        assert version.partition("+")[0] in requirement.specifier, f"{requirement}, found {version}: scripts/lock.py"


def test_a_cpu_set_holds_no_cuda_build_and_no_torch_but_its_own() -> None:
    refused = re.compile(r"nvidia-.*|cuda-.*|torch.*|triton|opencv-.*|.*-gpu|.*-cu1\d")
    assert [name for name in versions("cpu") if refused.fullmatch(name)] == []
    assert versions("torch-cpu") == {"torch": "2.13.0+cpu"} and blocks("torch-cpu") == {"torch==2.13.0+cpu": []}
    assert len(versions("cpu")) > 200 and len(versions("gpu")) > 250
