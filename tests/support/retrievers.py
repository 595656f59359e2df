"""Trained retrievers of a workspace, made here: they rank otherwise than the encoder alone does, and are real files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.support.tiny_bert import save_cross_encoder
from wbrag.retrieval.adapter import Adapter
from wbrag.retrieval.encoder import Encoder, encoder_fingerprint
from wbrag.retrieval.trained import TrainedRetriever, save_adapter, save_model
from wbrag.units.layout import Layout


def retrievers(store: Layout, encoder: Encoder, scratch: Path, words: Sequence[str]) -> list[TrainedRetriever | None]:
    """None, an adapter, and the same with a reranker that leans on similarity: three ways to rank."""
    c, root, d = store.config.encoder, store.retrievers, encoder.dimension
    rng = np.random.default_rng(0)
    down, up = rng.standard_normal((4, d)) / d**0.5, rng.standard_normal((d, 4)) / d**0.5
    adapter = save_adapter(root, Adapter(down.astype(np.float32), up.astype(np.float32)), {}, {})
    save_cross_encoder(scratch / "model", [*"What is the code of Note . ?".split(), *words], ["useful"], scale=1)
    reranker = save_model(root, "reranker", scratch / "model", {"slope": 80.0}, {})
    parts = ((adapter,), (adapter, reranker))
    return [None, *(TrainedRetriever(encoder_fingerprint(c), c.model, d, own, "2026-01-01") for own in parts)]
