"""Course: what a transformer learns from, and how.

A course is plain data, so that a process, or every worker of Ray Train, can build the same trainer from it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wbrag.core.env import check_torchvision
from wbrag.core.errors import UsageError
from wbrag.core.model_sections import EncoderConfig, GeneratorConfig
from wbrag.core.train_sections import ReaderConfig, TransformerConfig
from wbrag.retrieval.encoder import path_of
from wbrag.training.adapter import teacher
from wbrag.training.exercises import Taught
from wbrag.training.lessons import Lessons

CHECKPOINTS = 4  # of an epoch, that a killed training goes on from
KEPT = 2


@dataclass(frozen=True)
class Lists:
    """Questions, the documents of each, and the log-weights that its teacher gives them."""

    questions: list[str] = field(default_factory=list)
    documents: list[list[str]] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.questions)

    @staticmethod
    def of(lessons: Lessons, rows: Sequence[int], texts: Texts, settings: TransformerConfig) -> Lists:
        """Those of some of the lessons; documents that nobody asked about are left out."""
        found, taught = Lists(), teacher(lessons, settings)
        for row in rows:
            asked = np.flatnonzero(lessons.asked[row])
            found.questions.append(texts.questions[row])
            found.documents.append([texts.contents[place] for place in lessons.places[row, asked]])
            found.weights.append(taught[row, asked].tolist())
        return found


@dataclass(frozen=True)
class Texts:
    """The texts of lessons: of each question, and of each passage."""

    questions: Sequence[str]
    contents: Sequence[str]

    def part(self, rows: Sequence[int]) -> Texts:
        """Those of these questions, and of all passages."""
        return Texts([self.questions[row] for row in rows], self.contents)


@dataclass(frozen=True)
class Course:
    """What a reranker or an encoder learns from and stops by, and how."""

    kind: Literal["reranker", "encoder"]
    settings: TransformerConfig
    seed: int
    taught: Lists
    stopping: Lists
    encoder: EncoderConfig = EncoderConfig()

    def base(self) -> str:
        """The folder or name of what it starts from."""
        return path_of(self.settings.base or ("embedded" if self.kind == "reranker" else self.encoder.model))


@dataclass(frozen=True)
class ReadingCourse:
    """What a language model learns to read from and stops by, and how. `generator.model` is a folder or a name."""

    generator: GeneratorConfig
    settings: ReaderConfig
    seed: int
    taught: Taught
    stopping: Taught
    kind: Literal["reader"] = "reader"


def arguments(course: Course | ReadingCourse, folder: Path) -> dict[str, Any]:
    """What every kind of trainer is told; from a seed to the last step the same on one machine."""
    import torch

    gpu, settings = torch.cuda.is_available(), course.settings
    steps = max(1, -(-len(course.taught) // (settings.batch * max(1, settings.workers))))
    return {
        "output_dir": str(folder),
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch,
        "per_device_eval_batch_size": settings.batch,
        "learning_rate": settings.learning_rate,
        "warmup_steps": 0.1,  # of all steps
        "seed": course.seed,
        "data_seed": course.seed,
        "bf16": gpu or fast_bfloat16(),
        "use_cpu": not gpu,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "eval_steps": max(1, steps // CHECKPOINTS),
        "save_steps": max(1, steps // CHECKPOINTS),
        "save_total_limit": KEPT,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "logging_strategy": "steps",
        "logging_steps": max(1, steps // CHECKPOINTS),
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": gpu,
        "ddp_find_unused_parameters": course.kind == "encoder",  # whose pooler is not asked
    }


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself."""
    import torch

    return any(torch.cpu.get_capabilities().get(name) for name in ("amx_bf16", "avx512_bf16"))


def need_packages(*more: str) -> None:
    """Raises `UsageError` where the extra `train`, or a package of it that is named, is missing."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    check_torchvision()
    try:
        import datasets

        for name in ("accelerate", *more):
            import_module(name)
    except ImportError as error:
        raise UsageError(
            f"expected the package {error.name} to train a transformer, found none: pip install 'wbrag[train]'"
        ) from None
    datasets.disable_progress_bars()
