"""SmolLM2 taught to read documents: an adapter that ships with wbrag, merged into `smollm2` once, in the cache.

`wbrag train reader` made it; `reader/reader.json` says of what, `reader/seen.json` which questions and passages it saw.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from wbrag.core.fingerprint import fingerprint
from wbrag.generators import lora, smollm2

NAME, LICENCE, SOURCE = "smollm2-reader", smollm2.LICENCE, smollm2.SOURCE


def adapter() -> Path:
    """The folder that ships."""
    return Path(str(files("wbrag.generators").joinpath("reader")))


@cache
def contents() -> str:
    """A hash of the adapter and of what it is merged into."""
    return fingerprint(smollm2.GGUF_SHA256, lora.contents(str(adapter())))


def folder() -> Path:
    """Where the merged model lies, or will."""
    return smollm2.folder().parent / f"{NAME}-{contents()}"


def get(*, progress: bool = True) -> Path:
    """The model's folder, made at the first call. Raises `UsageError` where a package for it is missing."""
    made = folder()
    if not (made / "config.json").is_file():
        lora.merge_once(str(smollm2.get(progress=progress)), str(adapter()), made)
    return made
