"""Environment diagnostics: what this machine and this Python have of what the settings need, with remedies.

Nothing is started and no model is loaded; libraries are imported in other processes alone, so that a broken one is a
line here and no crash.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from wbrag.cli.doctor import software, surroundings
from wbrag.cli.doctor.finding import Finding
from wbrag.core.config import Config
from wbrag.core.errors import said


def examine(config: Config) -> list[Finding]:
    """A finding for each of the same things, in the same order, whatever is broken."""
    with ThreadPoolExecutor(20) as pool:
        heavy = pool.submit(software.probe, ("torch", "torchvision", "vllm"))  # one process: each imports torch
        light = pool.submit(software.probe, ("faiss", "ray"))
        looks: dict[str, Callable[[], Finding]] = {
            "python": software.python,
            "torch": lambda: software.torch(heavy.result()),
            "gpu": lambda: software.gpu(config, heavy.result()),
            "torchvision": lambda: software.torchvision(heavy.result()),
            "vllm": lambda: software.vllm(config, heavy.result()),
            "sampler": lambda: software.sampler(config),
            "libnuma": lambda: software.libnuma(config),
            "faiss": lambda: software.faiss(config, light.result()),
            "ray": lambda: software.ray(light.result()),
            "encoder": lambda: surroundings.encoder(config),
            "generator": lambda: surroundings.generator(config),
            "endpoint": lambda: surroundings.endpoint(config),
            "retriever": lambda: surroundings.retriever(config),
            "workspace": lambda: surroundings.workspace(config),
            "serving": lambda: surroundings.serving(config),
            "memory": surroundings.memory,
            "disk": lambda: surroundings.disk(config),
        }
        return list(pool.map(_guarded, looks, looks.values()))


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:
        found = f"could not be examined: {type(error).__name__}: {said(error)}"
        return Finding(name, "broken", True, found, "report this, with what wbrag doctor --json says")
