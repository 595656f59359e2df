"""A tiny BERT with a word for each token, made here: a cross-encoder, or the encoder of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_cross_encoder(folder: Path, words: Sequence[str], labels: Sequence[str], scale: float = 50) -> Any:
    """`scale`: of the head, so that its outputs differ."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    names = dict(enumerate(labels))
    config = BertConfig(**_small(words), id2label=names, label2id={name: i for i, name in names.items()})
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(scale)
    folder.mkdir()
    model.save_pretrained(folder)
    _save_tokenizer(folder, words)
    return model


def save_encoder(folder: Path, words: Sequence[str]) -> None:
    """A sentence-transformers model: the same transformer, its tokens' mean."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    inner = folder / "bert"
    inner.mkdir(parents=True)
    BertModel(BertConfig(**_small(words))).save_pretrained(inner)
    _save_tokenizer(inner, words)
    transformer = Transformer(str(inner))
    model = SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu")
    model.save_pretrained(str(folder / "model"), create_model_card=False)


def _small(words: Sequence[str]) -> dict[str, int]:
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return {"vocab_size": len(SPECIAL) + len(words), "max_position_embeddings": 64, **size}


def _save_tokenizer(folder: Path, words: Sequence[str]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = {word: i for i, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
