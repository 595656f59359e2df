"""Findings about Python, its libraries and the GPUs. A library is looked at in another process, see `probes`."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wbrag.cli.doctor import probes
from wbrag.cli.doctor.finding import Finding
from wbrag.core.config import Config
from wbrag.core.errors import said

Probed = dict[str, dict[str, Any]]  # by library: its fields, or `error` and `absent`

PYTHONS = ((3, 11), (3, 14))
PROBE_S = 120  # for imports from a cold or busy disk
INSTALL = "install one of the sets: make setup, or make setup SET=gpu"


def probe(libraries: Sequence[str]) -> Probed:
    """What each says of itself; those after one that ends the process are asked in another."""
    found: Probed = {}
    while rest := [name for name in libraries if name not in found]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-P", probes.__file__, *rest]
        try:
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PROBE_S)
            lines, end = ran.stdout, _end(ran.returncode)
        except subprocess.TimeoutExpired as error:
            lines, end = (error.stdout or b"").decode(), f"no end after {PROBE_S} s"
        answers = [json.loads(line) for line in lines.splitlines()]
        found |= {answer["name"]: answer for answer in answers}
        if len(answers) < len(rest):
            found[rest[len(answers)]] = {"error": f"its import ends the process: {end}", "absent": False}
    return found


def _end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _without(name: str, probed: dict[str, Any], needed: bool, remedy: str = INSTALL) -> Finding | None:
    """The finding where the library is absent or broken."""
    if "error" not in probed:
        return None
    if probed["absent"]:
        return Finding(name, "absent", needed, "not installed", remedy)
    return Finding(name, "broken", needed, said(probed["error"]), remedy)


def python() -> Finding:
    found = f"{platform.python_version()}, {sys.prefix}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Finding("python", "ok", True, found)
    return Finding("python", "broken", True, found, "use Python 3.11 to 3.14: make setup PYTHON=/path/to/python")


def torch(probed: Probed) -> Finding:
    t = probed["torch"]
    build = f"CUDA {t['cuda']}" if t.get("cuda") else "a build for CPUs"
    return _without("torch", t, True) or Finding("torch", "ok", True, f"{t['version']}, {build}")


def torchvision(probed: Probed) -> Finding:
    """One of another torch build breaks `import transformers`; none at all is needed."""
    t = probed["torchvision"]
    if "error" in t:
        remedy = "pip uninstall torchvision torchaudio torchcodec: wbrag needs none of them"
        return Finding("torchvision", "broken", True, said(t["error"]), remedy)
    return Finding("torchvision", "ok", False, t["version"] or "none, and none is needed")


def gpu(config: Config, probed: Probed) -> Finding:
    """The GPUs of this machine, by the driver's own tool, and whether torch can use them."""
    asks = [
        name
        for name, asked in (
            ("encoder.gpus_per_actor", config.encoder.gpus_per_actor > 0),
            ("index.gpus_per_shard", config.index.gpus_per_shard > 0),
            ("generator.tensor_parallel_size", config.generator.tensor_parallel_size > 1),
        )
        if asked
    ]
    cuda, seen = probed["torch"].get("cuda", ""), probed["torch"].get("gpus", 0)
    cuda_engine = bool(cuda) and config.generator.backend == "vllm"
    elsewhere = bool(config.ray.address or os.environ.get("RAY_ADDRESS"))  # the cluster's GPUs count
    needed = (bool(asks) or cuda_engine) and not elsewhere
    cards, trouble = _cards()
    if not cards:
        reason = f"set {', '.join(asks)} lower" if asks else "install the CPU set: make setup SET=cpu"
        remedy = f"use a machine with an NVIDIA GPU and its driver, or {reason}" if needed else ""
        return Finding("gpu", "broken" if trouble else "absent", needed, trouble or "none", remedy)
    if not cuda:
        return Finding("gpu", "broken" if asks else "ok", needed, f"{cards}; not used", "make setup SET=gpu")
    if not seen:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        remedy = f"update the driver: this torch is built for CUDA {cuda}"
        if hidden is not None:
            remedy = f"unset CUDA_VISIBLE_DEVICES, which is {hidden!r}, or {remedy}"
        return Finding("gpu", "broken", needed, f"{cards}; torch sees none", remedy)
    return Finding("gpu", "ok", needed, cards)


def _cards() -> tuple[str, str]:
    """The GPUs with their driver, or what is wrong with it; two empty texts where the machine has neither."""
    asked = "--query-gpu=name,memory.total,driver_version"
    try:
        ran = subprocess.run(["nvidia-smi", asked, "--format=csv,noheader"], capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        return "", "an NVIDIA card, and no driver: no nvidia-smi" if _has_a_card() else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"nvidia-smi: {said(error)}"
    lines = ran.stdout.strip().splitlines()
    if ran.returncode or not lines:
        return "", f"nvidia-smi: {said(OSError(ran.stdout + ran.stderr))}"
    return "; ".join(lines), ""


def _has_a_card(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether a display or compute card of NVIDIA's is on the bus."""

    def says(file: Path) -> str:
        try:
            return file.read_text(encoding="ascii").strip()
        except OSError:
            return ""

    return any(says(d / "vendor") == "0x10de" and says(d / "class").startswith("0x03") for d in devices.glob("*"))


def sampler(config: Config) -> Finding:
    """FlashInfer's sampler, which compiles kernels with nvcc as an engine starts; wbrag turns it off, unless told."""
    name = "VLLM_USE_FLASHINFER_SAMPLER"
    needed = config.generator.backend == "vllm"
    off = os.environ.get(name, "0") in ("0", "")
    if off or shutil.which("nvcc"):
        return Finding("sampler", "ok", needed, "vLLM's own" if off else "FlashInfer's")
    remedy = f"unset {name}, or install CUDA's compiler"
    return Finding("sampler", "broken", needed, f"{name} is set and there is no nvcc: no engine will start", remedy)


def vllm(config: Config, probed: Probed) -> Finding:
    v, needed = probed["vllm"], config.generator.backend == "vllm"
    remedy = INSTALL if needed else ""
    return _without("vllm", v, needed, remedy) or Finding("vllm", "ok", needed, f"{v['version']} ({v['package']})")


def libnuma(config: Config) -> Finding:
    needed = config.generator.backend == "vllm"
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        return Finding("libnuma", "absent", needed, "no libnuma.so.1", "apt-get install libnuma1 (Debian, Ubuntu)")
    return Finding("libnuma", "ok", needed, "libnuma.so.1")


def faiss(config: Config, probed: Probed) -> Finding:
    f, wants_gpu = probed["faiss"], config.index.gpus_per_shard > 0
    if lacking := _without("faiss", f, True):
        return lacking
    found = f"{f['version']}, " + (f"sees {f['gpus']} GPUs" if f["gpu_build"] else "a build for CPUs")
    if wants_gpu and not f["gpus"]:
        return Finding("faiss", "broken", True, found, "make setup SET=gpu, or set index.gpus_per_shard to 0")
    return Finding("faiss", "ok", True, found)


def ray(probed: Probed) -> Finding:
    r = probed["ray"]
    return _without("ray", r, True) or Finding("ray", "ok", True, str(r["version"]))
