"""A course that a tiny transformer learns in seconds: whatever is asked, one word makes a document useful."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wbrag.core.train_sections import TransformerConfig
from wbrag.training.course import Course, Lists

WORDS = [*"who what where kite owl fox hen".split(), *(f"w{i}" for i in range(20))]
SUBJECTS, ASKED = ["kite", "owl", "fox", "hen"], ["who", "what", "where"]


def lists(count: int, seed: int = 0) -> Lists:
    """Whatever is asked, the document about the hen is the useful one."""
    rng, found = np.random.default_rng(seed), Lists()
    for _ in range(count):
        noise = [" ".join(rng.choice(WORDS[7:], 3)) for _ in SUBJECTS]
        found.questions.append(f"{rng.choice(ASKED)} {rng.choice(SUBJECTS)}")
        found.documents.append([f"{name} {text}" for name, text in zip(SUBJECTS, noise)])
        found.weights.append([-6.0, -6.0, -6.0, 0.0])
    return found


def course(base: Path, kind: str = "reranker", **options: object) -> Course:
    given = {"base": str(base), "learning_rate": 2e-2, "epochs": 6, "batch": 8, "max_tokens": 32}
    settings = TransformerConfig(**{**given, **options})
    return Course(kind, settings, 0, lists(96), lists(24, 1))  # type: ignore[arg-type]
