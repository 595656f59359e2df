"""Entailment model: a cross-encoder of sentence-transformers, its labels read from its own config.

Weights must be safetensors, and no code that comes with a model is run.
"""

from __future__ import annotations

from collections.abc import Sequence

from wbrag.core.errors import WbragError
from wbrag.core.sections import ChecksConfig
from wbrag.retrieval.cross_encoder import load_cross_encoder
from wbrag.units.checks.interface import Nli

BATCH = 32
LABELS = ("entail", "neutral", "contradict")  # how the labels begin, in the order of `Nli`'s result


def open_nli(settings: ChecksConfig) -> Nli | None:
    """The model that `settings.nli_model` names, or None where none is configured."""
    return CrossEncoderNli(settings.nli_model) if settings.nli_model else None


class CrossEncoderNli:
    """`model` is a folder or a Hugging Face name; its weights must be safetensors, and no code of its own is run."""

    def __init__(self, model: str) -> None:
        self.model = load_cross_encoder(model, "checks.nli_model", "an entailment cross-encoder")
        labels = {int(i): str(label).lower() for i, label in self.model.config.id2label.items()}
        self.order = [[i for i, label in labels.items() if label.startswith(start)] for start in LABELS]
        if len(labels) != 3 or any(len(found) != 1 for found in self.order):
            raise WbragError(
                f"expected an entailment model with the labels entailment, neutral and contradiction at "
                f"{model!r}, found {', '.join(labels.values())}: choose another checks.nli_model"
            )

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float, float]]:
        """Probabilities (entailment, neutral, contradiction) of each (premise, hypothesis)."""
        if not pairs:
            return []
        from torch.nn import Identity

        found = self.model.predict(  # from the logits: what activation a model saved is not ours to know
            list(pairs), batch_size=BATCH, show_progress_bar=False, activation_fn=Identity(), apply_softmax=True
        )
        (e,), (n,), (c,) = self.order
        return [(float(row[e]), float(row[n]), float(row[c])) for row in found]
