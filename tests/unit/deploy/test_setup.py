"""scripts/setup.sh: what it says where it cannot go on, and how pip's configuration reaches uv."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "SSL_", "ALL_PROXY"))}


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env={**PLAIN, **environment}, capture_output=True, text=True, timeout=120)


def told(configuration: Path | str, **environment: str) -> dict[str, str]:
    """What a shell has that reads the script's output, by name."""
    ran = run(sys.executable, ROOT / "scripts/uv_env.py", PIP_CONFIG_FILE=str(configuration), **environment)
    assert ran.returncode == 0, ran.stderr
    shown = run("bash", "-c", 'eval "$1"; env', "-", ran.stdout).stdout.splitlines()
    names = re.findall(r"^export (\w+)=", ran.stdout, re.MULTILINE)
    return {name: value for name, _, value in (line.partition("=") for line in shown) if name in names}


def test_a_plain_machine_tells_nothing() -> None:
    assert told(os.devnull) == {}  # which keeps pip from every file


def test_options_of_pips_environment() -> None:
    found = told(os.devnull, PIP_INDEX_URL="https://a.example/simple", PIP_FIND_LINKS="/one /two", PIP_NO_INDEX="1")
    assert found == {"UV_DEFAULT_INDEX": "https://a.example/simple", "UV_FIND_LINKS": "/one,/two", "UV_OFFLINE": "1"}
    found = told(os.devnull, PIP_EXTRA_INDEX_URL="https://user:p'w@c.example file:///d", PIP_DEFAULT_TIMEOUT="99")
    assert found["UV_INDEX"] == "https://user:p'w@c.example file:///d" and found["UV_HTTP_TIMEOUT"] == "99"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"


def test_a_section_of_a_file_goes_before_global_and_the_environment_before_both(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://a.example\nfind-links =\n  /one\n  /two\n[install]\nconstraint = /c\n"
    )
    found = told(file)
    assert (found["UV_DEFAULT_INDEX"], found["UV_FIND_LINKS"]) == ("https://a.example", "/one,/two")
    file.write_text(file.read_text() + "index-url = https://b.example\n")
    assert told(file)["UV_DEFAULT_INDEX"] == "https://b.example" and told(file)["UV_CONSTRAINT"] == "/c"
    assert told(file, PIP_INDEX_URL="https://c.example")["UV_DEFAULT_INDEX"] == "https://c.example"


def test_what_uv_is_told_by_its_own_variables_stays() -> None:
    pips = {"PIP_INDEX_URL": "https://a.example", "PIP_FIND_LINKS": "/pip", "PIP_CONSTRAINT": "/c"}
    assert told(os.devnull, **pips, UV_INDEX_URL="https://mine.example", UV_FIND_LINKS="/mine") == {
        "UV_CONSTRAINT": "/c"
    }


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What setup needs of the repository, without a .venv."""
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / "clone" / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "clone")
    return tmp_path / "clone"


def refused(clone: Path, *arguments: str, **environment: str) -> str:
    ran = run(clone / "scripts/setup.sh", *arguments, **environment)
    *_, last = ran.stderr.splitlines()
    assert ran.returncode == 1 and last.startswith("setup: "), ran.stderr
    return last


def test_no_python_and_no_such_set(clone: Path) -> None:
    assert "found none: install one, or name it with PYTHON=" in refused(clone, PYTHON=str(clone / "python"))
    assert "expected the set cpu or gpu, found tpu" in refused(clone, "tpu")
    assert not (clone / ".venv").exists()


def test_an_index_that_is_out_of_reach(clone: Path) -> None:
    closed = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    last = refused(clone, PYTHON=sys.executable, **closed)
    assert "could not install uv (requirements/uv.txt); the whole log is in .venv/setup.log" in last
    assert "127.0.0.1" in (clone / ".venv/setup.log").read_text()
    assert not (clone / ".venv/.packages").exists(), "the next run begins again"


def test_a_second_run_only_compares_stamps(clone: Path) -> None:
    stamps = clone / ".venv"
    stamps.mkdir()
    packages = "{ pwd && cat requirements/cpu.txt requirements/torch-cpu.txt; } | sha256sum > .venv/.packages"
    subprocess.run(["bash", "-c", f"{packages}; sha256sum <pyproject.toml >.venv/.project"], cwd=clone, check=True)
    ran = run(clone / "scripts/setup.sh", PATH="/usr/bin:/bin", PYTHON="/none")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
