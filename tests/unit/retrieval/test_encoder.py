"""The real encoder: passages in bfloat16 where the processor multiplies it, queries never."""

from __future__ import annotations

import numpy as np
import pytest

from wbrag.core.model_sections import EncoderConfig
from wbrag.retrieval import encoder as module
from wbrag.retrieval.encoder import Encoder

pytestmark = pytest.mark.integration
TEXTS = [f"Title {n}\nThe gauge number {n} was built by the Corvane works. " * (1 + n % 5) for n in range(20)]


def test_passages_in_bfloat16_are_the_passages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_multiplies_bfloat16", lambda device: True)
    plain, ours = Encoder(EncoderConfig(dtype="float32")), Encoder(EncoderConfig())
    assert "bfloat16" in str(next(ours.passage_model.parameters()).dtype)
    assert plain.passage_model is plain.model
    expected, found = plain.encode_passages(TEXTS), ours.encode_passages(TEXTS)
    assert (expected * found).sum(axis=1).min() > 0.999
    assert np.array_equal(found, ours.encode_passages(TEXTS)), "a block that is embedded again gives the same vectors"
    assert np.array_equal(plain.encode_queries(TEXTS), ours.encode_queries(TEXTS))


def test_elsewhere_there_is_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_multiplies_bfloat16", lambda device: False)
    ours = Encoder(EncoderConfig())
    assert ours.passage_model is ours.model
