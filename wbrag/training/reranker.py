"""Reranker training: a cross-encoder that ranks passages as useful ones were (ListNet), mixed with similarity.

The loss is the cross-entropy between the teacher's and the reranker's distribution over a question's candidates
(Cao et al., 2007). Distilling into a cross-encoder first is what FlagEmbedding's issue 553 recommends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wbrag.core.train_sections import TransformerConfig
from wbrag.retrieval.cross_encoder import load_cross_encoder
from wbrag.retrieval.reranker import LocalReranker, Pair
from wbrag.training.adapter import teacher
from wbrag.training.course import Course, Texts, arguments
from wbrag.training.lessons import Bools, Floats, Lessons

SLOPES = (0.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)  # what a similarity of 1 adds to a logit
PAIRS = 16  # read in one go
UNREAD = 1e4  # below any logit
SETTING = "train.reranker.base"


def trainer(course: Course, folder: Path) -> Any:
    """sentence-transformers' own, over a cross-encoder with one label."""
    import torch
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import ListNetLoss

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(course.seed)  # of a new head
        model = load_cross_encoder(
            course.base(), SETTING, num_labels=1, max_length=course.settings.max_tokens, config_kwargs={}
        )
    parts = {
        name: Dataset.from_dict({"query": part.questions, "documents": part.documents, "labels": part.weights})
        for name, part in (("train_dataset", course.taught), ("eval_dataset", course.stopping))
    }
    told = CrossEncoderTrainingArguments(**arguments(course, folder))
    loss = ListNetLoss(model, mini_batch_size=-1)  # all pairs in one go, as several workers need it
    return CrossEncoderTrainer(model, told, loss=loss, **parts)


def best_of(similarity: Floats, present: Bools, count: int) -> Bools:
    """[n, k]: the `count` most similar candidates of each question, which are all that a reranker reads."""
    ranked = np.argsort(np.where(present, -similarity, np.inf), axis=1, kind="stable")
    seen = np.zeros_like(present)
    np.put_along_axis(seen, ranked[:, :count], True, axis=1)
    return seen & present


def logits(folder: Path, lessons: Lessons, seen: Bools, texts: Texts, settings: TransformerConfig) -> Floats:
    """Of the candidates [n, k] that are `seen`; NaN for the others. `texts` are those of `lessons`."""
    model = load_cross_encoder(str(folder), SETTING, max_length=settings.max_tokens)
    places = list(zip(*np.nonzero(seen)))
    pairs = [Pair(texts.questions[row], texts.contents[lessons.places[row, at]]) for row, at in places]
    found = np.full(seen.shape, np.nan, np.float32)
    for place, logit in zip(places, LocalReranker(model, PAIRS).read(pairs), strict=True):
        found[place] = logit
    return found


def mixed(read: Floats, similarity: Floats, slope: float) -> Floats:
    """Scores [n, k] that rank as the endpoint does: what was read first, the others below by similarity."""
    return np.where(np.isfinite(read), read + slope * (similarity - 1), similarity - UNREAD).astype(np.float32)


def best_slope(lessons: Lessons, read: Floats, similarity: Floats, settings: TransformerConfig) -> float:
    """Of `SLOPES`, the one that ranks these questions' candidates most as their teacher does (KL)."""
    known = lessons.asked & np.isfinite(read)
    taught = np.where(known, teacher(lessons, settings), -np.inf)
    taught = taught - np.logaddexp.reduce(taught, axis=1, keepdims=True)

    def distance(slope: float) -> float:
        student = np.where(known, read + slope * similarity, -np.inf)
        student = student - np.logaddexp.reduce(student, axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return float(np.nansum(np.where(known, np.exp(taught) * (taught - student), 0.0)))

    return min(SLOPES, key=distance)
