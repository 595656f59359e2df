"""The installed GPU set, looked at without a GPU: `python scripts/gpu_set.py` in its own environment.

Every package that a GPU node uses is imported beside the others, wbrag's engine options are read by vLLM's own
arguments, every variable that an engine needs is one that this vLLM knows, and an engine says in one sentence what is
missing here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import os

from wbrag.core.config import load
from wbrag.core.env import ENGINE
from wbrag.core.errors import WbragError

IMPORTED = ("torch", "faiss", "vllm", "ray", "ray.data", "ray.serve", "ray.serve.llm", "sentence_transformers", "wbrag")


def main() -> None:
    for name in IMPORTED:
        module = importlib.import_module(name)
        print(f"{name} {getattr(module, '__version__', '')}")
    import faiss
    import torch
    import vllm.envs
    from vllm.engine.arg_utils import AsyncEngineArgs

    assert torch.version.cuda, "expected torch's CUDA build"
    assert hasattr(faiss, "StandardGpuResources"), "expected faiss-gpu"
    known = {*vllm.envs.environment_variables}
    assert set(ENGINE) <= known, f"vLLM does not know {sorted(set(ENGINE) - known)}"
    os.environ.update(ENGINE)
    assert not vllm.envs.VLLM_USE_FLASHINFER_SAMPLER, "its kernels are compiled with nvcc as the engine warms up"
    settings = load(
        generator={"engine": {"quantization": "fp8", "kv_cache_dtype": "fp8", "enforce_eager": True}}
    ).generator
    taken = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    from wbrag.generators.vllm import VLLMGenerator, engine_options

    given = set(engine_options(settings, "a-model", 0))
    assert given <= taken, f"vLLM's engine takes no {sorted(given - taken)}"
    try:
        asyncio.run(VLLMGenerator(load().generator).start())
    except WbragError as error:
        assert "expected a GPU" in str(error), error
        print(f"an engine here: {error}")
    else:
        raise AssertionError("expected no engine without a GPU")


if __name__ == "__main__":
    main()
