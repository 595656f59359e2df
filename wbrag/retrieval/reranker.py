"""Reranker: a cross-encoder reads question and passage together, for the best hits alone.

    score = sigmoid(logit + slope x (found - 1))

`found` is what the hit was found with: its similarity, mixed with words where `retrieval.hybrid` says so. The slope is
0 for a model that is named, and learned for one that was trained here; less 1 keeps the sigmoid away from 1, where
floats cannot tell hits apart. A score does not depend on which pairs were read together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from wbrag.core.errors import WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import location, model_contents
from wbrag.core.model_sections import RerankConfig
from wbrag.core.types import Hit, Ways
from wbrag.retrieval.batching import Batcher
from wbrag.retrieval.cross_encoder import load_cross_encoder
from wbrag.retrieval.index.copies import with_copy
from wbrag.retrieval.index.manifest import ShardFiles, verify

DIGITS = 5  # of a logit: what is read together in one batch changes the seventh
AT_ONCE = 4  # batches of pairs: whoever asked first does not wait for all who came since
AGAIN = "it is damaged; delete its folder and train it again"


class Pair(NamedTuple):
    question: str
    contents: str


class Reranker(Protocol):
    """Reads pairs; in this process or elsewhere."""

    async def logits(self, pairs: Sequence[Pair]) -> list[float]: ...


@dataclass(frozen=True)
class RerankerModel:
    """Which cross-encoder, where its files are, and how its score is mixed. Small, so that jobs carry it."""

    settings: RerankConfig
    root: str = ""  # of the trained retrievers, for one of them
    files: ShardFiles | None = None
    slope: float = 0.0

    @property
    def fingerprint(self) -> str:
        """What decides its scores."""
        s = self.settings
        folder = Path(s.model or "").expanduser()
        named = model_contents(folder) if s.model and folder.is_dir() else s.model
        made_of = self.files.sha256 if self.files else (named, s.revision)
        return fingerprint(made_of, s.candidates, s.max_tokens, self.slope)


def named(settings: RerankConfig) -> RerankerModel | None:
    """The one that the settings name."""
    return RerankerModel(settings) if settings.model else None


def open_reranker(model: RerankerModel) -> LocalReranker:
    """Loads it, checksums first; raises `WbragError` for what is damaged or no reranker."""
    if model.files is None:
        path, revision = str(model.settings.model), model.settings.revision
    else:

        def verified(root: Path, files: ShardFiles) -> Path:
            return verify(root, files, again=AGAIN)

        path, revision = str(with_copy(location(model.root), model.files, None, verified)), None
    options = {"revision": revision, "max_length": model.settings.max_tokens}
    loaded = load_cross_encoder(path, "rerank.model", "a reranking cross-encoder", **options)
    if loaded.config.num_labels != 1:
        raise WbragError(
            f"expected a cross-encoder with one label, which is its score, at {path!r}, found "
            f"{loaded.config.num_labels}: choose another rerank.model"
        )
    return LocalReranker(loaded, model.settings.batch_size)


class LocalReranker:
    """A cross-encoder of this process; pairs that come while it reads are read next, together."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self.model, self.batch_size = model, batch_size
        self._batches: Batcher[Pair, float] = Batcher(self.read, most=AT_ONCE * batch_size)

    async def logits(self, pairs: Sequence[Pair]) -> list[float]:
        return await self._batches(pairs)

    def read(self, pairs: Sequence[Pair]) -> list[float]:
        from torch.nn import Identity

        found = self.model.predict(
            list(pairs), batch_size=self.batch_size, show_progress_bar=False, activation_fn=Identity()
        )
        return [round(float(logit), DIGITS) for logit in found]


async def reranked(
    reranker: Reranker, model: RerankerModel, questions: Sequence[str], hits: Sequence[Sequence[Hit]]
) -> list[list[Hit]]:
    """The hits of each question with the reranker's scores, in no order."""
    pairs = [Pair(question, f"{h.title}\n{h.text}") for question, own in zip(questions, hits, strict=True) for h in own]
    logits = iter(await reranker.logits(pairs))
    found = [[_scored(hit, next(logits), model.slope) for hit in own] for own in hits]
    if not all(math.isfinite(hit.score) for own in found for hit in own):
        raise WbragError("expected finite scores from the reranker, found others: choose another rerank.model")
    return found


def _scored(hit: Hit, logit: float, slope: float) -> Hit:
    """The logistic function, for logits of any size."""
    x = logit + slope * (hit.score - 1)
    score = 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
    return replace(hit, score=score, ways=hit.ways or Ways(hit.score))
