"""Adapter training: the residual on questions' vectors that ranks passages as useful ones were, over fixed vectors.

Seeds decide everything: the same lessons and settings give the same adapter on one machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from wbrag.core.train_sections import AdapterConfig, TransformerConfig
from wbrag.retrieval.adapter import Adapter
from wbrag.training.lessons import Bools, Floats, Lessons, Split, split
from wbrag.training.losses import Loss, loss

BATCH = 64  # questions


@dataclass
class Curves:
    """Epochs, from 0 (the base) on, and the loss there: on the taught part, and on the stopping part.

    There it is an adapter's perplexity distillation, whatever it learns by: smooth where a loss chooses hard.
    """

    taught: list[tuple[float, float]] = field(default_factory=list)
    stopping: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """An adapter with its curves, and the parts of the questions; `epoch`: whose weights these are."""

    adapter: Adapter
    curves: Curves
    parts: Split
    epoch: int


class Residual(nn.Module):
    """q + B A q, of unit length; B is zero at first, so that step 0 is the base."""

    def __init__(self, dimension: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, dimension) / dimension**0.5)
        self.up = nn.Parameter(torch.zeros(dimension, rank))

    def forward(self, queries: Tensor) -> Tensor:
        return nn.functional.normalize(queries + queries @ self.down.T @ self.up.T, dim=1)


def train_adapter(
    lessons: Lessons, settings: AdapterConfig, *, top_k: int, seed: int, update: Callable[[int, int], None]
) -> Trained:
    """Learns from one part and stops by another; the third is left to measure by.

    `update` hears epochs done, of how many at most. One thread: the products are small, and several add them up in an
    order that depends on what else the machine does.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(lessons, settings, top_k, seed, update)
    finally:
        torch.set_num_threads(threads)


def _train(
    lessons: Lessons, settings: AdapterConfig, top_k: int, seed: int, update: Callable[[int, int], None]
) -> Trained:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Residual(lessons.queries.shape[1], min(settings.rank, lessons.queries.shape[1]))
    parts, curves = split(lessons.ids, seed), Curves()
    course = _Course(lessons, settings, top_k)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    best, weights = 0, _weights(model)
    curves.taught.append((0, course.mean(model, parts.taught)))
    curves.stopping.append((0, course.mean(model, parts.stopping, course.distance)))
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(parts.taught), generator=generator).tolist()
        seen: list[float] = []
        for start in range(0, len(order), BATCH):
            batch = [parts.taught[at] for at in order[start : start + BATCH]]
            found = course.loss(model, batch)
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
            seen += [float(found.detach())] * len(batch)
        curves.taught.append((epoch, float(np.mean(seen))))
        curves.stopping.append((epoch, course.mean(model, parts.stopping, course.distance)))
        if curves.stopping[-1][1] < curves.stopping[best][1]:
            best, weights = epoch, _weights(model)
        update(epoch, settings.epochs)
        if epoch - best >= settings.patience:
            break
    return Trained(Adapter(weights["down"], weights["up"]), curves, parts, best)


def scores(lessons: Lessons, adapter: Adapter | None) -> Floats:
    """Similarities [n, k] of every question to its candidates, with or without an adapter."""
    queries = lessons.queries if adapter is None else adapter(lessons.queries)
    found: Floats = np.einsum("nd,nkd->nk", queries, lessons.passages[lessons.places])
    return found


def _weights(model: Residual) -> dict[str, Floats]:
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}


class _Course:
    """The lessons as tensors, and the loss of some of them."""

    def __init__(self, lessons: Lessons, settings: AdapterConfig, top_k: int) -> None:
        self.settings, self.loss_of, self.distance = settings, loss(settings.loss, top_k), loss("pdist", top_k)
        self.queries, self.passages = torch.tensor(lessons.queries), torch.tensor(lessons.passages)  # of their own
        self.places, self.asked = torch.from_numpy(lessons.places), torch.from_numpy(lessons.asked)
        self.teacher = torch.from_numpy(teacher(lessons, settings))

    def loss(self, model: Residual, rows: list[int], of: Loss | None = None) -> Tensor:
        """The mean over `rows`; candidates that nobody asked about are left out."""
        queries, places, asked = model(self.queries[rows]), self.places[rows], self.asked[rows]
        logits = torch.einsum("nd,nkd->nk", queries, self.passages[places])
        logits = (logits / self.settings.temperature).masked_fill(~asked, -torch.inf)
        taught = self.teacher[rows]
        if self.settings.in_batch and len(rows) > 1:
            logits, taught = self._with_others(queries, places, asked, logits, taught)
        return (of or self.loss_of)(logits, taught)

    def _with_others(
        self, queries: Tensor, places: Tensor, asked: Tensor, logits: Tensor, taught: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Every other question's best candidate beside a question's own, as a document that does not help."""
        first = asked.float().argmax(1)
        others = places.gather(1, first[:, None])[:, 0]
        beside = queries @ self.passages[others].T / self.settings.temperature
        own = ((places[:, :, None] == others[None, None, :]) & asked[:, :, None]).any(1)
        beside = beside.masked_fill(own, -torch.inf)
        return torch.cat([logits, beside], 1), torch.cat([taught, torch.full_like(beside, -torch.inf)], 1)

    def mean(self, model: Residual, rows: list[int], of: Loss | None = None) -> float:
        with torch.no_grad():
            parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
            return sum(float(self.loss(model, part, of)) * len(part) for part in parts) / max(1, len(rows))


def teacher(lessons: Lessons, settings: AdapterConfig | TransformerConfig) -> Floats:
    """Log-weights [n, k] that sum to one over the candidates asked about, -inf elsewhere.

    `both` adds likelihood and similarity, each over its spread within the question.
    """
    asked = lessons.asked
    taught = lessons.logprob
    if settings.teacher == "both":
        taught = _spread(lessons.logprob, asked) + _spread(lessons.similarity, asked)
    logits = np.where(asked, taught / settings.teacher_temperature, -np.inf)
    found: Floats = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    return found


def _spread(values: Floats, asked: Bools) -> Floats:
    """Each question's values [n, k] less their mean, over their standard deviation."""
    known = np.where(asked, values, np.nan)
    mean, deviation = np.nanmean(known, 1, keepdims=True), np.nanstd(known, 1, keepdims=True)
    return (known - mean) / np.maximum(deviation, 1e-6)
