"""Hub models: a name and a branch resolved to the commit that is loaded, so that a result says which weights it is of.

A branch moves; what every node of a job loads, and what a run records, is one commit of it.
"""

from __future__ import annotations

import logging
import os
import re
from functools import cache
from pathlib import Path

from wbrag.core.model_sections import GeneratorConfig

log = logging.getLogger(__name__)
COMMIT = re.compile(r"[0-9a-f]{40}")
ASKS_S = 10.0  # of the hub, which may be out of reach


def pinned(settings: GeneratorConfig) -> GeneratorConfig:
    """The settings with the commit in the revision's place, where they name a hub model and it can be found out."""
    commit = commit_of(settings)
    return settings.model_copy(update={"revision": commit}) if commit else settings


def commit_of(settings: GeneratorConfig) -> str:
    """The commit that a hub model's name stands for; empty for folders, endpoints, and where nobody can say."""
    name, revision = settings.model, settings.revision or "main"
    if settings.backend != "vllm" or not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or Path(name).expanduser().is_dir():
        return ""
    return revision if COMMIT.fullmatch(revision) else _resolved(name, revision, _cache())


@cache
def _resolved(name: str, revision: str, folder: Path) -> str:
    """The hub's word, else what was downloaded last."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() not in ("1", "true", "yes", "on"):
        from huggingface_hub import HfApi

        try:
            return HfApi().model_info(name, revision=revision, timeout=ASKS_S).sha or ""
        except Exception as error:  # out of reach, or a gated model without a token
            log.warning("the hub does not say which commit %s@%s is, the cache decides: %s", name, revision, error)
    kept = folder / f"models--{name.replace('/', '--')}" / "refs" / revision
    return kept.read_text(encoding="utf-8").strip() if kept.is_file() else ""


def _cache() -> Path:
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()
