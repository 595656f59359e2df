"""Adapter training on worlds whose useful passages a hidden rotation finds: it learns that, and nothing from noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wbrag.core.errors import WbragError
from wbrag.core.train_sections import AdapterConfig
from wbrag.retrieval.adapter import Adapter
from wbrag.training.adapter import Trained, scores, train_adapter
from wbrag.training.lessons import Lessons
from wbrag.training.measures import measure

D, K = 24, 8


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small products: on a busy machine threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def world(n: int = 300, seed: int = 0) -> Lessons:
    """Passages of unit length; the one that a hidden map of the question points at makes the answer likely."""
    rng = np.random.default_rng(seed)
    passages = rng.normal(size=(300, D)).astype(np.float32)
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    hidden = np.linalg.qr(rng.normal(size=(D, D)))[0].astype(np.float32)
    places = rng.integers(0, 300, (n, K))
    target = passages[places[:, 0]]
    queries = 0.7 * target @ hidden + 0.3 * target + 0.1 * rng.normal(size=(n, D))
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    similarity = np.einsum("nd,nkd->nk", queries, passages[places]).astype(np.float32)
    gold = np.zeros((n, K), bool)
    gold[:, 0] = True
    logprob = np.where(gold, -1.0, -4.0) + 0.2 * rng.normal(size=(n, K))
    order = np.argsort(-similarity, axis=1)
    places, similarity, gold, logprob = (np.take_along_axis(a, order, 1) for a in (places, similarity, gold, logprob))
    ids = tuple(f"q{i}" for i in range(n))
    nr, names = np.full(n, -5.0, np.float32), tuple(map(str, range(len(passages))))
    return Lessons(
        ids,
        queries,
        names,
        passages,
        places,
        np.ones((n, K), bool),
        similarity,
        logprob.astype(np.float32),
        nr,
        gold,
    )


def trained(lessons: Lessons, seed: int = 0, **options: Any) -> Trained:
    return train_adapter(
        lessons, AdapterConfig(**{"learning_rate": 3e-3} | options), top_k=3, seed=seed, update=lambda done, total: None
    )


def gain(lessons: Lessons, found: Trained) -> float:
    own = lessons.part(found.parts.held_out)
    before, after = (measure(own, scores(own, adapter)).recall_at_1 for adapter in (None, found.adapter))
    return float(np.nanmean(after) - np.nanmean(before))


@pytest.mark.parametrize("name", ["pdist", "emdr2", "st_topk"])
def test_it_learns_what_makes_documents_useful(name: str) -> None:
    assert gain(world(), trained(world(), loss=name, epochs=30)) > 0.1


def test_shuffled_labels_teach_nothing() -> None:
    lessons = world()
    rng = np.random.default_rng(1)
    shuffled = replace(lessons, logprob=rng.permuted(lessons.logprob, axis=1))
    assert gain(lessons, trained(shuffled, teacher="likelihood", epochs=20)) < 0.05


def test_step_zero_is_the_base_and_equal_seeds_are_equal() -> None:
    lessons = world(150)
    none = trained(lessons, epochs=1, learning_rate=1e-12)
    np.testing.assert_allclose(scores(lessons, none.adapter), scores(lessons, None), atol=1e-6)
    one, other = trained(lessons, epochs=3), trained(lessons, epochs=3)
    np.testing.assert_array_equal(one.adapter.up, other.adapter.up)
    assert one.curves == other.curves
    assert not np.array_equal(trained(lessons, seed=1, epochs=3).adapter.up, one.adapter.up)


def test_the_parts_do_not_meet_and_the_best_epoch_is_kept() -> None:
    found = trained(world(200), epochs=20, patience=3)
    taught, stopping, held_out = (set(part) for part in found.parts)
    assert (
        taught | stopping | held_out == set(range(200)) and not taught & stopping and not held_out & (taught | stopping)
    )
    assert found.curves.stopping[found.epoch][1] == min(loss for _, loss in found.curves.stopping)
    assert len(found.curves.stopping) == len(found.curves.taught) <= found.epoch + 4


def test_a_saved_one_is_the_same_and_others_are_refused(tmp_path: Path) -> None:
    found = trained(world(150), epochs=2).adapter
    found.save(tmp_path / "a.safetensors")
    again = Adapter.read((tmp_path / "a.safetensors").read_bytes(), "a", D)
    queries = world(9).queries
    np.testing.assert_array_equal(again(queries), found(queries))
    np.testing.assert_allclose(np.linalg.norm(again(queries), axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(np.stack([again(q[None])[0] for q in queries]), again(queries))
    assert again(queries[:0]).shape == (0, D)
    with pytest.raises(WbragError, match="dimensions"):
        Adapter.read((tmp_path / "a.safetensors").read_bytes(), "a", D + 1)
    Adapter(np.full((2, D), np.nan, np.float32), np.zeros((D, 2), np.float32)).save(tmp_path / "nan.safetensors")
    (tmp_path / "text").write_text("no tensors")
    for name, said in (("nan.safetensors", "finite"), ("text", "expected an adapter")):
        with pytest.raises(WbragError, match=said):
            Adapter.read((tmp_path / name).read_bytes(), name, D)
