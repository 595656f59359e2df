"""Query encoder: questions to vectors by NumPy, without torch, which takes seconds to load; for encoders like BERT.

The vectors are sentence-transformers' own but for rounding, some 1e-7. What is not known for certain (another
architecture, pooling or module, a setting that is read nowhere here) is left to them: `open_numpy` gives None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wbrag.core.model_sections import EncoderConfig
from wbrag.retrieval.encoder import Encoder, Vectors, path_of, prefixes_of

MODULES = [["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]]
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
READ_OF_POOLING = {"word_embedding_dimension", "embedding_dimension", "include_prompt", "pooling_mode"}
TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
TRANSFORMER = {  # the values that are known; a limit of its own gives way to `encoder.max_tokens`
    "do_lower_case": False,
    "transformer_task": "feature-extraction",
    "modality_config": {"text": TEXT},
    "module_output_name": "token_embeddings",
}
NORMALIZED = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
AS_IT_IS = ("PreTrainedTokenizerFast", "TokenizersBackend")
BERT = ("BertTokenizer", "BertTokenizerFast")
ROUNDED = ("F32", "F16")  # types of weights that NumPy reads


class LazyEncoder:
    """Questions by NumPy where that can; the whole encoder once there are passages, or where it cannot."""

    def __init__(self, settings: EncoderConfig) -> None:
        self.settings = settings
        self.numpy = open_numpy(settings)

    @cached_property
    def whole(self) -> Encoder:
        return Encoder(self.settings)

    def encode_queries(self, questions: Sequence[str]) -> Vectors:
        return (self.numpy or self.whole).encode_queries(questions)

    def encode_passages(self, contents: Sequence[str]) -> Vectors:
        return self.whole.encode_passages(contents)


class NumpyEncoder:
    """One question at a time, so that its vector depends on nothing else."""

    def __init__(self, shape: Shape, weights: Mapping[str, Any], tokenizer: Any, prefix: str) -> None:
        self.shape, self.weights, self.tokenizer, self.query_prefix = shape, weights, tokenizer, prefix

    def encode_queries(self, questions: Sequence[str]) -> Vectors:
        found = [self._vector(self.tokenizer.encode(self.query_prefix + text).ids) for text in questions]
        return np.stack(found) if found else np.empty((0, self.shape.width), np.float32)

    def _vector(self, ids: Sequence[int]) -> Vectors:
        w = self.weights
        words, places = w["embeddings.word_embeddings.weight"][ids], w["embeddings.position_embeddings.weight"]
        state = words + places[: len(ids)] + w["embeddings.token_type_embeddings.weight"][0]
        state = self._normed(state, "embeddings.LayerNorm")
        for layer in range(self.shape.layers):
            state = self._layer(state, f"encoder.layer.{layer}.")
        pooled = state[0] if self.shape.pooling == "cls" else state.mean(axis=0)
        return np.asarray(pooled / max(float(np.linalg.norm(pooled)), 1e-12), np.float32)

    def _layer(self, state: Vectors, at: str) -> Vectors:
        attended = self._linear(self._attention(state, f"{at}attention.self."), f"{at}attention.output.dense")
        state = self._normed(attended + state, f"{at}attention.output.LayerNorm")
        inner = _gelu(self._linear(state, f"{at}intermediate.dense"))
        return self._normed(self._linear(inner, f"{at}output.dense") + state, f"{at}output.LayerNorm")

    def _attention(self, state: Vectors, at: str) -> Vectors:
        """Of every token to every token, by head [h, n, n]."""
        count, heads = len(state), self.shape.heads
        query, key, value = (
            self._linear(state, f"{at}{name}").reshape(count, heads, -1).transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        return mixed.transpose(1, 0, 2).reshape(count, -1)  # type: ignore[no-any-return]

    def _linear(self, state: Vectors, name: str) -> Vectors:
        return state @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]  # type: ignore[no-any-return]

    def _normed(self, state: Vectors, name: str) -> Vectors:
        centred = state - state.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self.shape.eps))
        return centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]  # type: ignore[no-any-return]


def _gelu(x: Vectors) -> Vectors:
    from scipy.special import erf

    return np.float32(0.5) * x * (1 + erf(x * np.float32(np.sqrt(0.5))))  # type: ignore[no-any-return]


class Shape(NamedTuple):
    """What of an encoder is not in its weights."""

    width: int
    layers: int
    heads: int
    eps: float
    pooling: str  # "mean" or "cls"


def open_numpy(settings: EncoderConfig) -> NumpyEncoder | None:
    """The encoder of a folder; None for one that is read otherwise, and where something is missing or damaged."""
    folder = Path(path_of(settings.model)).expanduser()
    if settings.dtype not in ("auto", "float32") or not folder.is_dir():
        return None
    try:
        shape, prompts = _shape(folder, settings.max_tokens), _prompts(folder)
        if shape is None or prompts is None or (tokenizer := _tokenizer(folder, settings.max_tokens)) is None:
            return None
        if (weights := _weights(folder, shape)) is None:
            return None
    except (OSError, ValueError, KeyError, TypeError):  # whoever loads all of it says what is wrong
        return None
    return NumpyEncoder(shape, weights, tokenizer, prefixes_of(settings, prompts)[0])


def _shape(folder: Path, max_tokens: int) -> Shape | None:
    modules = _json(folder / "modules.json")
    if [one["type"].split(".")[-1] for one in modules] not in MODULES or modules[0]["path"]:
        return None
    config, read = _json(folder / "config.json"), _json(folder / "sentence_bert_config.json")
    known = (
        config["model_type"] == "bert"
        and config["hidden_act"] == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and not {"auto_map", "quantization_config"} & config.keys()
        and max_tokens <= config["max_position_embeddings"]
        and all(name == "max_seq_length" or TRANSFORMER.get(name) == value for name, value in read.items())
    )
    pooling = _pooling(_json(folder / "1_Pooling" / "config.json"))
    if not known or pooling is None:
        return None
    return Shape(
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["layer_norm_eps"],
        pooling,
    )


def _pooling(config: Mapping[str, Any]) -> str | None:
    on = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
    mode = POOLINGS.get(on[0]) if len(on) == 1 else config.get("pooling_mode") if not on else None
    others = {name for name in config if not name.startswith("pooling_mode_")}
    return mode if mode in POOLINGS.values() and others <= READ_OF_POOLING else None


def _prompts(folder: Path) -> Mapping[str, str] | None:
    file = folder / "config_sentence_transformers.json"
    found = _json(file) if file.is_file() else {}
    return None if found.get("default_prompt_name") else found.get("prompts") or {}


def _tokenizer(folder: Path, max_tokens: int) -> Any:
    from tokenizers import Tokenizer

    settings, stored = _json(folder / "tokenizer_config.json"), _json(folder / "tokenizer.json")
    kind, normalizer = settings.get("tokenizer_class"), stored["normalizer"] or {}
    same = all(settings.get(ours, normalizer.get(its)) == normalizer.get(its) for ours, its in NORMALIZED.items())
    if kind not in AS_IT_IS and not (kind in BERT and normalizer.get("type") == "BertNormalizer" and same):
        return None  # transformers would make another one of these files
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.no_padding()
    made.enable_truncation(max_tokens)
    return made


def _weights(folder: Path, shape: Shape) -> Mapping[str, Any] | None:
    from safetensors import SafetensorError, safe_open

    found: dict[str, Any] = {}
    try:
        opened = safe_open(folder / "model.safetensors", framework="np")
    except SafetensorError:
        return None
    with opened as file:
        for name in file.keys():  # noqa: SIM118
            if file.get_slice(name).get_dtype() in ROUNDED:
                found[name.removeprefix("bert.")] = file.get_tensor(name).astype(np.float32, copy=False)
    last = f"encoder.layer.{shape.layers - 1}.output.LayerNorm.weight"
    beyond = f"encoder.layer.{shape.layers}.output.LayerNorm.weight"
    return found if last in found and beyond not in found else None


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
