"""LoRA adapters of language models: kept free of what is this machine's own, served beside the model, or merged.

An adapter is a folder in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`; nothing else counts.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from wbrag.core.errors import UsageError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import cache_folder, folder_in_one_step, location, locked, model_contents, sha256_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@cache
def contents(adapter: str) -> tuple[tuple[str, str], ...]:
    """Name and checksum of its two files, read once, since every fingerprint asks.

    Raises `UsageError` where the folder holds no adapter.
    """
    place = location(adapter).expanduser()
    lacking = [name for name in (CONFIG, WEIGHTS) if not (place / name).is_file()]
    if lacking:
        raise UsageError(
            f"expected a LoRA adapter with {CONFIG} and {WEIGHTS} at {adapter}, found no {lacking[0]}: "
            "check generator.adapter"
        )
    return tuple((name, sha256_of(place / name)) for name in (CONFIG, WEIGHTS))


def local(adapter: str) -> Path:
    """Its folder on this machine's disk: one of an object store is fetched into the cache, once."""
    place, found = location(adapter).expanduser(), contents(adapter)
    if isinstance(place, Path):
        return place.resolve()
    copy = cache_folder() / "adapters" / fingerprint(found)
    with locked(copy.parent / f".{copy.name}.lock"):
        if not copy.is_dir():
            with folder_in_one_step(copy) as scratch:
                for name, _ in found:
                    (place / name).fetch(scratch / name)
    return copy


def rank(folder: Path) -> int:
    """The adapter's rank. Raises `UsageError` where its settings are no PEFT adapter's."""
    try:
        return int(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["r"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"expected PEFT's {CONFIG} with a rank r at {folder}, found another file: check it") from None


def keep(learned: Path, target: Path, model: str) -> None:
    """Copy what was learned into `target`: in bfloat16, half the size, and under its base model's public name."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(learned / WEIGHTS)
    save_file({name: weights[name].to(torch.bfloat16).contiguous() for name in sorted(weights)}, target / WEIGHTS)
    config = json.loads((learned / CONFIG).read_text(encoding="utf-8")) | {"base_model_name_or_path": model}
    (target / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def merged(base: str, adapter: str, revision: str | None = None) -> Path:
    """`merge`, once, into a folder of the cache that is named by both: for engines that take no adapter."""
    named = (model_contents(Path(base)) if Path(base).is_dir() else base, revision)
    out = cache_folder() / "models" / f"merged-{fingerprint(named, contents(adapter))}"
    merge_once(base, adapter, out, revision)
    return out


def merge_once(base: str, adapter: str, out: Path, revision: str | None = None) -> None:
    """`merge`, unless it is done; the processes of one machine, which share the cache, wait for the first of them."""
    with locked(out.parent / f".{out.name}.lock"):
        if not (out / "config.json").is_file():
            merge(base, adapter, out, revision)


def merge(base: str, adapter: str, out: Path, revision: str | None = None) -> None:
    """Write a model folder whose weights are the base's with the adapter's added; the tokenizer comes with it.

    Raises `UsageError` where PEFT is missing, the adapter is none of that model's, or `out` holds files.
    """
    folder = local(adapter)
    rank(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"expected a new folder for the merged model, found {out} with something in it: name another")
    try:
        from peft import PeftModel
    except ImportError:
        raise UsageError(
            "expected the package peft to merge an adapter, found none: pip install 'wbrag[train]'"
        ) from None
    model, tokenizer = loaded(base, revision, "auto")
    try:
        whole = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:160]
        raise UsageError(
            f"expected an adapter of {Path(base).name}, found one that does not fit ({why}): "
            "name the model that it was trained on"
        ) from None
    with folder_in_one_step(out) as scratch:
        whole.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)


def loaded(base: str, revision: str | None, dtype: Any, **options: Any) -> tuple[Any, Any]:
    """A causal language model and its tokenizer by transformers. Raises `UsageError` for what is none."""
    from transformers import AutoModelForCausalLM

    more: dict[str, Any] = {"use_safetensors": True, "dtype": dtype, **options}
    return _loaded(AutoModelForCausalLM, base, revision, more), tokenizer_of(base, revision)


def tokenizer_of(base: str, revision: str | None) -> Any:
    """A model's tokenizer. Raises `UsageError` where it has none."""
    from transformers import AutoTokenizer

    return _loaded(AutoTokenizer, base, revision, {})


def _loaded(of: Any, base: str, revision: str | None, options: dict[str, Any]) -> Any:
    try:
        return of.from_pretrained(base, trust_remote_code=False, revision=revision, **options)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(
            f"expected a causal language model with safetensors at {base!r}, found ({why}): check generator.model"
        ) from None
