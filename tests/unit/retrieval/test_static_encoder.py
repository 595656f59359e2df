"""Encoders of static embeddings, as many use on CPUs: the mean of the vectors of words, without a limit of length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wbrag.core.model_sections import EncoderConfig
from wbrag.retrieval import encoder as module
from wbrag.retrieval.encoder import Encoder

pytestmark = pytest.mark.integration
WORDS = ["[UNK]", "the", "gauge", "of", "corvane", "harbour", "seal", "tide"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(0).standard_normal((len(WORDS), 16), dtype=np.float32)
    made = tmp_path_factory.mktemp("static")
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, weights)], device="cpu")
    model.save_pretrained(str(made), create_model_card=False)
    return made


@pytest.mark.parametrize("bfloat16", [False, True])
def test_no_more_is_read_than_the_settings_say(folder: Path, bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_multiplies_bfloat16", lambda device: bfloat16)
    encoder = Encoder(EncoderConfig(model=str(folder), max_tokens=8))
    eight = "the gauge of corvane the gauge of corvane"
    read, cut = encoder.encode_passages([eight, f"{eight} harbour seal tide"])
    assert encoder.dimension == 16 and np.allclose(np.linalg.norm(read), 1, atol=1e-2)
    assert np.allclose(read, cut), "what is beyond the limit was read"
    assert not np.allclose(*encoder.encode_queries(["harbour seal", "tide"]), atol=0.1)
