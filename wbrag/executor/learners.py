"""Learners: what each kind of trained retriever learns from lessons, how it then ranks, and how it is stored.

An adapter learns in this process in seconds; a reranker or an encoder here, or on the workers of Ray Train.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import cache_folder, model_contents
from wbrag.core.model_sections import EncoderConfig, GeneratorConfig
from wbrag.core.progress import bar
from wbrag.core.train_sections import TransformerConfig
from wbrag.executor.fitting import fitted
from wbrag.executor.runner import Runner
from wbrag.retrieval.adapter import Adapter
from wbrag.retrieval.encoder import Encoder
from wbrag.retrieval.trained import Part, save_adapter, save_model
from wbrag.training.adapter import Curves, scores, train_adapter
from wbrag.training.course import Course, Lists, Texts
from wbrag.training.fit import Learned
from wbrag.training.lessons import Floats, Lessons, Split, split

Kind = Literal["adapter", "reranker", "encoder"]
Facts = Mapping[str, Any]
Keep = Callable[[Facts, Facts], Part]  # of how it was made, and what it measured


@dataclass(frozen=True)
class Ranking:
    """How the candidates [n, k] of held-out questions are ranked by what was learned, and how to keep it."""

    scores: Floats
    curves: Curves
    epoch: float
    keep: Keep
    forget: Callable[[], None] = lambda: None  # what was only needed to learn it


@dataclass(frozen=True)
class Learner:
    """Learns one kind from any lessons: the real ones, and those of the control."""

    runner: Runner
    kind: Kind
    texts: Texts
    over: Adapter | None = None  # a reranker's mixture counts the similarities as this adapter has them

    def __call__(self, lessons: Lessons, label: str) -> Ranking:
        parts = split(lessons.ids, self.runner.config.seed)
        with bar(label, shown=self.runner.progress) as update:
            if self.kind == "adapter":
                return self._adapter(lessons, parts, update)
            learned = self._transformer(lessons, parts, update)
        if self.kind == "reranker":
            return self._reranker(lessons, parts, learned)
        return self._encoder(lessons, parts, learned)

    @property
    def settings(self) -> TransformerConfig:
        train = self.runner.config.train
        return train.reranker if self.kind == "reranker" else train.encoder

    def _adapter(self, lessons: Lessons, parts: Split, update: Callable[[int, int], None]) -> Ranking:
        c = self.runner.config
        found = train_adapter(lessons, c.train.adapter, top_k=c.retrieval.top_k, seed=c.seed, update=update)
        ranked = scores(lessons.part(parts.held_out), found.adapter)

        def keep(made: Facts, held: Facts) -> Part:
            return save_adapter(self.runner.layout.retrievers, found.adapter, made, held)

        return Ranking(ranked, found.curves, found.epoch, keep)

    def _transformer(self, lessons: Lessons, parts: Split, update: Callable[[int, int], None]) -> Learned:
        """Trained in a folder named by what is learned, which a killed training goes on from."""
        assert self.kind != "adapter"
        taught, stopping = (
            Lists.of(lessons, rows, self.texts, self.settings) for rows in (parts.taught, parts.stopping)
        )
        c = self.runner.config
        course = Course(self.kind, absolute(self.settings), c.seed, taught, stopping, absolute(c.encoder))
        base = Path(course.base())
        made_of = model_contents(base) if base.is_dir() else course.base()
        folder = cache_folder() / "training" / fingerprint(made_of, self.settings, asdict(course) | {"settings": ""})
        return fitted(self.runner, course, folder, update)

    def _reranker(self, lessons: Lessons, parts: Split, learned: Learned) -> Ranking:
        from wbrag.training.reranker import best_of, best_slope, logits, mixed

        def read(rows: Sequence[int]) -> tuple[Lessons, Floats, Floats]:
            own = lessons.part(rows)
            similarity = scores(own, self.over)
            seen = best_of(similarity, own.present, self.runner.config.rerank.candidates)
            return own, logits(learned.folder, own, seen, self.texts.part(rows), self.settings), similarity

        slope = best_slope(*read(parts.stopping), self.settings)
        _, by_model, similarity = read(parts.held_out)
        ranked = mixed(by_model, similarity, slope)
        keep = partial(self._keep, "reranker", learned, {"slope": slope})
        return Ranking(ranked, learned.curves, learned.epoch, keep, partial(_forget, learned))

    def _encoder(self, lessons: Lessons, parts: Split, learned: Learned) -> Ranking:
        model = Encoder(EncoderConfig(model=str(learned.folder), max_tokens=self.settings.max_tokens))
        own = lessons.part(parts.held_out)
        places = np.unique(own.places[own.present])
        vectors = np.zeros((len(lessons.passages), model.dimension), np.float32)
        vectors[places] = model.encode_passages([self.texts.contents[place] for place in places])
        queries = model.encode_queries([self.texts.questions[row] for row in parts.held_out])
        ranked: Floats = np.einsum("nd,nkd->nk", queries, vectors[own.places])
        return Ranking(
            ranked,
            learned.curves,
            learned.epoch,
            partial(self._keep, "encoder", learned, {}),
            partial(_forget, learned),
        )

    def _keep(
        self, kind: Literal["reranker", "encoder"], learned: Learned, found: Facts, made: Facts, held: Facts
    ) -> Part:
        return save_model(self.runner.layout.retrievers, kind, learned.folder, {**made, **found}, held)


S = TypeVar("S", TransformerConfig, EncoderConfig, GeneratorConfig)


def absolute(settings: S) -> S:
    """With a folder's whole path: workers of Ray Train have another working directory."""
    name = "base" if isinstance(settings, TransformerConfig) else "model"
    folder = Path(getattr(settings, name) or "").expanduser()
    return settings.model_copy(update={name: str(folder.resolve())}) if folder.is_dir() and folder.name else settings


def _forget(learned: Learned) -> None:
    """Its model and its checkpoints."""
    shutil.rmtree(learned.folder.parent, ignore_errors=True)
