"""Clients and frameworks in environments of their own, which `requirements/clients*.txt` pin; made once, under build.

wbrag's own packages can be imported there too, after its own, for what is tried inside a framework.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSPECTOR = "0.15.0"
SCRIPTS = Path(__file__).parent / "clients"


def interpreter(name: str = "clients") -> Path:
    """The Python of an environment; skips the test where its packages cannot be fetched."""
    pinned = ROOT / "requirements" / f"{name}.txt"
    state = hashlib.sha256(pinned.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = ROOT / "build" / f"{name}-{state}"
    python = home / "bin" / "python"
    if python.exists():
        return python
    scratch = home.with_name(f"{home.name}.{os.getpid()}")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(scratch)], check=True)
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "install", "--quiet", "--python", str(scratch / "bin" / "python"), "-r", str(pinned)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        shutil.rmtree(scratch)
        pytest.skip(f"the packages of {pinned.name} cannot be installed here: {done.stderr.strip()[-300:]}")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = scratch / "lib" / version / "site-packages" / "wbrag-after-its-own.pth"
    own.write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n")
    try:
        scratch.rename(home)  # a venv's Python finds its packages by where it lies
    except OSError:
        shutil.rmtree(scratch)  # another process was first
    return python


def run(
    *command: str | Path, cwd: Path = ROOT, timeout: float = 300, packages: str = "clients", **variables: str
) -> str:
    """What a program of that environment prints; an `AssertionError` with all it said where it fails."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", **variables}
    for name in ("PYTEST_ADDOPTS", "OPENAI_API_KEY"):
        environment.pop(name, None)
    whole = [str(interpreter(packages)), *map(str, command)]
    done = subprocess.run(whole, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def inspector() -> list[str]:
    """The command line of the MCP inspector; skips the test where Node.js or its package is not at hand."""
    home = ROOT / "build" / f"inspector-{INSPECTOR}"
    program = home / "node_modules" / ".bin" / "mcp-inspector"
    if shutil.which("npm") is None:
        pytest.skip("no Node.js here: apt install npm")
    if not program.exists():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", f"@modelcontextprotocol/inspector@{INSPECTOR}"]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"the MCP inspector cannot be installed here: {done.stderr.strip()[-300:]}")
    return [str(program), "--cli"]
