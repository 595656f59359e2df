"""Settings tree: the YAML file, `WBRAG_*` environment and `--section.name value` flags all derive from it.

Precedence: arguments, environment, file, defaults. A key that is unknown or invalid is a `UsageError` that names it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from wbrag.core.errors import UsageError, unknown
from wbrag.core.model_sections import DistillerConfig, EncoderConfig, GeneratorConfig, RerankConfig
from wbrag.core.sections import (
    CanaryConfig,
    ChecksConfig,
    EnrichConfig,
    IndexConfig,
    JobConfig,
    LearnConfig,
    MethodsConfig,
    PublishConfig,
    RayConfig,
    RetrievalConfig,
    RetrieverConfig,
    ServingConfig,
    TracingConfig,
)
from wbrag.core.train_sections import TrainConfig


class Config(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="WBRAG_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    workspace: str = Field("./workspace", description="the folder that holds everything")
    seed: int = 0
    prompts_dir: str | None = Field(None, description="folder whose files shadow wbrag's prompts")
    encoder: EncoderConfig = EncoderConfig()
    index: IndexConfig = IndexConfig()
    generator: GeneratorConfig = GeneratorConfig()
    methods: MethodsConfig = MethodsConfig()
    enrich: EnrichConfig = EnrichConfig()
    distiller: DistillerConfig = DistillerConfig()
    checks: ChecksConfig = ChecksConfig()
    canary: CanaryConfig = CanaryConfig()
    learn: LearnConfig = LearnConfig()
    publish: PublishConfig = PublishConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    rerank: RerankConfig = RerankConfig()
    retriever: RetrieverConfig = RetrieverConfig()
    serving: ServingConfig = ServingConfig()
    tracing: TracingConfig = TracingConfig()
    train: TrainConfig = TrainConfig()
    ray: RayConfig = RayConfig()
    job: JobConfig = JobConfig()

    @property
    def distils_itself(self) -> bool:
        """Whether units are written by the model that answers."""
        return not self.distiller.generator.model

    def for_distiller(self) -> Config:
        """These settings with the distiller's model in the generator's place."""
        if self.distils_itself:
            return self
        return self.model_copy(update={"generator": self.distiller.generator, "distiller": DistillerConfig()})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=_yaml_file)


_yaml_file: Path | None = None


def load(file: str | Path | None = None, **overrides: Any) -> Config:
    """Settings from `overrides` over the environment over the YAML `file` over the defaults; errors name the key."""
    global _yaml_file
    if file is not None and not Path(file).is_file():
        raise UsageError(f"expected a YAML config file, found none at {file}: check --config")
    _yaml_file = Path(file) if file is not None else None
    try:
        return Config(**overrides)
    except ValidationError as error:
        raise _explain(error) from None
    except SettingsError as error:  # an environment variable that should be JSON
        raise UsageError(f"expected JSON in a WBRAG_ environment variable, found ({error}): correct it") from None
    except (TypeError, ValueError, AttributeError, yaml.YAMLError) as error:  # a file that is no mapping of names
        reason = " ".join(str(error).split())
        raise UsageError(f"expected a YAML mapping of settings in {file}, found ({reason}): mend it") from None
    finally:
        _yaml_file = None


def flags(section: type[BaseModel] = Config, prefix: str = "") -> dict[str, str]:
    """Every `--section.name` flag with its description."""
    found: dict[str, str] = {}
    for name, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= flags(kind, f"{prefix}{name}.")
        else:
            found[f"--{prefix}{name}"] = f"{info.description or ''} (default {info.default!r})".strip()
    return found


def _explain(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] == "extra_forbidden":
        section: type[BaseModel] = Config
        for part in path[:-1]:
            section = section.model_fields[part].annotation  # type: ignore[assignment]
        problem = unknown("setting", path[-1], list(section.model_fields))
        return UsageError(f"{name}: {problem}")
    return UsageError(f"setting {name}: expected {first['msg'].lower()}, found {first['input']!r}: correct it")
