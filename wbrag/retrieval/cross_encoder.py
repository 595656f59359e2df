"""Cross-encoder loading: sentence-transformers' models that read two texts together, from safetensors alone.

No code that comes with a model is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wbrag.core.env import check_torchvision
from wbrag.core.errors import WbragError


def load_cross_encoder(model: str, setting: str, what: str = "a cross-encoder", **options: Any) -> Any:
    """`model` is a folder or a Hugging Face name; a `WbragError` names `setting` where it does not load."""
    check_torchvision()
    import torch
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # that a head is new is no news
    try:
        return CrossEncoder(
            model,
            device="cuda" if torch.cuda.is_available() else "cpu",
            trust_remote_code=False,
            local_files_only=Path(model).is_dir(),
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},  # halves round with the batch
            **options,
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WbragError(f"expected {what} at {model!r}, found {reason}: check {setting}") from None
