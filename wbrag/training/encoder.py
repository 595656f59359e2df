"""Encoder training: the encoder itself learns to rank passages as useful ones were; every passage is embedded anew.

The loss is the KL divergence between the teacher's and the encoder's distribution over a question's candidates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wbrag.retrieval.encoder import load_encoder, prefixes_of
from wbrag.training.course import Course, Lists, arguments

FEWEST = 4  # candidates of a question that lists are cut to; one with fewer is left out


def trainer(course: Course, folder: Path) -> Any:
    """sentence-transformers' own, over the encoder."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss
    from sentence_transformers.util import pairwise_cos_sim

    own = {"dtype": "float32", "max_tokens": course.settings.max_tokens}
    if course.settings.base:
        own |= {"model": course.settings.base, "revision": None}
    settings = course.encoder.model_copy(update=own)
    model = load_encoder(settings)
    prefixes = prefixes_of(settings, model.prompts or {})
    model.prompts = dict(zip(("query", "document"), prefixes))  # kept with it: whoever loads it uses them
    size = max(FEWEST, min((len(own) for own in course.taught.documents if len(own) >= FEWEST), default=FEWEST))
    parts = {
        name: Dataset.from_dict(columns(part, size, *prefixes))
        for name, part in (("train_dataset", course.taught), ("eval_dataset", course.stopping))
    }
    loss = DistillKLDivLoss(  # by cosine: wbrag's vectors are of unit length, whatever the model's own are
        model, pairwise_cos_sim, student_temperature=course.settings.temperature, teacher_temperature=1.0
    )
    told = SentenceTransformerTrainingArguments(**arguments(course, folder))
    return SentenceTransformerTrainer(model, told, loss=loss, **parts)


def columns(lists: Lists, size: int, of_question: str = "", of_document: str = "") -> dict[str, Any]:
    """A column for the question, one for each of `size` documents, the most useful first, and one for their weights."""
    rows = []
    for question, documents, weights in zip(lists.questions, lists.documents, lists.weights, strict=True):
        order = sorted(range(len(documents)), key=lambda at: -weights[at])[:size]
        if len(order) == size:
            rows.append((question, [documents[at] for at in order], [weights[at] for at in order]))
    found: dict[str, Any] = {"question": [of_question + question for question, _, _ in rows]}
    found |= {f"document_{at}": [of_document + documents[at] for _, documents, _ in rows] for at in range(size)}
    return found | {"label": [weights for _, _, weights in rows]}
