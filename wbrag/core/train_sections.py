"""Settings sections of training: how a retriever learns from recorded usefulness."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wbrag.core.model_sections import Section


class AdapterConfig(Section):
    """How a query adapter learns."""

    rank: int = Field(32, ge=1, le=512, description="of the residual; at most the encoder's dimension")
    loss: Literal["pdist", "emdr2", "st_topk"] = "pdist"
    teacher: Literal["both", "likelihood"] = Field(
        "both", description="what is taught: likelihood of the answer and similarity together, or likelihood alone"
    )
    teacher_temperature: float = Field(0.5, gt=0, description="of spreads (both), or of nats a token (likelihood)")
    temperature: float = Field(0.05, gt=0, description="of the retriever's softmax over similarities")
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    epochs: int = Field(60, ge=1, description="at most; training stops where the stopping part gets no better")
    patience: int = Field(8, ge=1, description="epochs without an improvement before it stops")
    in_batch: bool = Field(True, description="other questions' candidates are documents that do not help")


class WorkersConfig(Section):
    """Where a transformer is trained."""

    workers: int = Field(
        0, ge=0, description="Ray Train workers; 0: one with a GPU, or this process where there is none"
    )
    gpus_per_worker: float = Field(0.0, ge=0)


class TransformerConfig(WorkersConfig):
    """How a reranker or an encoder learns: every weight of a transformer."""

    base: str | None = Field(
        None,
        description="what it starts from, a folder or a name; default: the encoder; for a reranker MiniLM",
    )
    teacher: Literal["both", "likelihood"] = Field("both", description="as for the adapter")
    teacher_temperature: float = Field(0.5, gt=0, description="of spreads (both), or of nats a token (likelihood)")
    temperature: float = Field(0.05, gt=0, description="an encoder's, of its softmax over similarities")
    learning_rate: float = Field(5e-5, gt=0)
    epochs: int = Field(2, ge=1, description="the best one by the stopping part is kept")
    batch: int = Field(4, ge=1, description="questions in one step of one worker, each with all of its candidates")
    max_tokens: int = Field(256, ge=16, description="tokens that are read, of question and passage together")


class ReaderConfig(WorkersConfig):
    """How a language model learns to read documents: a LoRA adapter on every linear layer, the model stays."""

    exercises: int = Field(3000, ge=20, description="questions that are read, an exercise each")
    measured: int = Field(60, ge=10, description="questions of each set that quality is measured on, before and after")
    archive: float = Field(0.0, ge=0, lt=1, description="share of exercises in the language of the demo's archive")
    rank: int = Field(16, ge=1, le=512)
    alpha: int = Field(32, ge=1, description="the adapter counts alpha / rank times")
    learning_rate: float = Field(3e-4, gt=0)
    epochs: int = Field(1, ge=1, description="the best quarter by the stopping part is kept")
    batch: int = Field(8, ge=1, description="exercises in one step of one worker")
    max_tokens: int = Field(1280, ge=64, description="of prompt and reply; longer ones are left out")


class TrainConfig(Section):
    candidates: int = Field(10, ge=2, le=200, description="likelihoods a question, where enrichment recorded fewer")
    candidate_depth: int = Field(50, ge=2, le=1000, description="drawn from so many of the best")
    control: bool = Field(True, description="train a second time on shuffled labels, which must gain nothing")
    adapter: AdapterConfig = AdapterConfig()
    reranker: TransformerConfig = TransformerConfig()
    encoder: TransformerConfig = TransformerConfig(learning_rate=2e-5, epochs=1)
    reader: ReaderConfig = ReaderConfig()
