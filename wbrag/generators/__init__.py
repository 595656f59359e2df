"""Generators: a language model in this process (`vllm`) or behind an OpenAI-compatible endpoint (`openai`).

Heavy libraries are imported only for the backend in use. Equal fingerprints mean that answers can be compared.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import Any

from wbrag.core.config import Config
from wbrag.core.errors import UsageError
from wbrag.core.fingerprint import deciding, fingerprint
from wbrag.core.io.files import model_contents
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.types import Generator
from wbrag.generators import lora, smollm2, smollm2_reader
from wbrag.generators.hub import commit_of
from wbrag.generators.logprobs import TOP_LOGPROBS


def build(config: Config) -> Generator:
    """The generator that the settings name; heavy libraries are imported only for the one in use."""
    settings = config.generator
    if settings.backend == "openai":
        from wbrag.generators.openai import OpenAIGenerator

        if settings.base_url is None:
            raise UsageError(
                "expected generator.base_url for the backend 'openai', found none: give the endpoint's URL"
            )
        return OpenAIGenerator(
            settings.model,
            settings.base_url,
            settings.api_key_env,
            max_concurrency=settings.in_flight,
            timeout_s=settings.timeout_s,
            max_retries=settings.max_retries,
            seed=config.seed,
            settings=settings,
        )
    from wbrag.generators.vllm import VLLMGenerator

    return VLLMGenerator(settings, seed=config.seed)


async def check(config: Config, needs: Collection[str]) -> None:
    """Ask an endpoint one tiny question that uses what a method `needs`; an engine of our own can do everything."""
    if config.generator.backend == "openai" and set(needs) != {"text"}:  # `start` asks for text itself
        from wbrag.generators.openai import OpenAIGenerator

        generator = build(config)
        assert isinstance(generator, OpenAIGenerator)
        if "tokens" in needs:
            await generator.next_tokens("", (), 1)  # refused by name
        await generator.check(need_logprobs=TOP_LOGPROBS if "logprobs" in needs else 0, need_score="scores" in needs)
        await generator.close()


MADE = {module.NAME: module for module in (smollm2, smollm2_reader)}  # models that wbrag makes out of a wheel


def model_path(settings: GeneratorConfig) -> str:
    """What the engine is asked to load: a shipped model's folder, or the name as given."""
    if settings.backend == "vllm" and settings.model in MADE:
        return str(MADE[settings.model].folder())
    return str(files("wbrag.generators").joinpath("embedded")) if settings.model == "embedded" else settings.model


def fetched(settings: GeneratorConfig) -> str:
    """`model_path`, once what it names is there: some models are made at their first use."""
    if settings.backend == "vllm" and settings.model in MADE:
        MADE[settings.model].get()
    return model_path(settings)


def engine_name(settings: GeneratorConfig) -> str:
    """What a unit says of the engine that wrote it: model, revision, precision, and the adapter where there is one."""
    adapter = f"+{fingerprint(lora.contents(settings.adapter))}" if settings.adapter else ""
    return f"vllm:{settings.model}@{settings.revision or 'default'}:{settings.dtype}{adapter}"


def _adapter(settings: GeneratorConfig) -> list[Any]:
    """The adapter's contents, where there is one."""
    return [lora.contents(settings.adapter)] if settings.adapter else []


def generator_fingerprint(config: Config) -> str:
    """What must be equal for two runs' answers to be comparable; a model folder counts by its contents."""
    g = config.generator
    chosen = g.engine.chosen() if g.backend == "vllm" else {}
    named = (g.backend, _weights(g), g.revision, g.base_url, g.dtype, g.max_model_len, g.max_answer_tokens, config.seed)
    return fingerprint(*named, *([chosen] if chosen else []), *_manners(g), *_adapter(g))  # older runs had none


def reply_fingerprint(config: Config) -> str:
    """What decides a reply to a given prompt: neither how long a context may be, nor how fast the engine is."""
    g = config.generator
    chosen = g.engine.chosen()
    engine: dict[str, Any] = {name: chosen[name] for name in ("quantization", "kv_cache_dtype") if name in chosen}
    if chosen.get("load_format") == "dummy":  # no weights at all
        engine["load_format"] = "dummy"
    named = (g.backend, _weights(g), commit_of(g) or g.revision, g.base_url, g.dtype, config.seed)
    return fingerprint(*named, engine if g.backend == "vllm" else {}, *_manners(g), *_adapter(g))


MANNERS = ("chat_template_kwargs", "system_prompt", "reasoning", "thinking_tokens", "request")


def _manners(settings: GeneratorConfig) -> list[dict[str, Any]]:
    """How the model is asked and read, where that is not the default."""
    chosen = deciding(settings, exclude=set(GeneratorConfig.model_fields) - set(MANNERS))
    return [chosen] if chosen else []


def _weights(settings: GeneratorConfig) -> str | list[tuple[str, str]]:
    """A model folder's contents, or the model's name."""
    if settings.backend == "vllm" and settings.model in MADE:
        return f"{settings.model}@{MADE[settings.model].contents()}"
    folder = Path(model_path(settings)).expanduser()
    return model_contents(folder) if settings.backend == "vllm" and folder.is_dir() else settings.model
