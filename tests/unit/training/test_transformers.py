"""Rerankers and encoders learn from lists with sentence-transformers' trainers, and go on where they were killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.courses import SUBJECTS, WORDS, course, lists
from tests.support.tiny_bert import save_cross_encoder, save_encoder
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.model_sections import EncoderConfig
from wbrag.core.train_sections import TransformerConfig
from wbrag.retrieval.encoder import Encoder
from wbrag.training import course as courses
from wbrag.training.course import Lists, Texts
from wbrag.training.encoder import columns
from wbrag.training.fit import fit_here
from wbrag.training.lessons import Lessons
from wbrag.training.reranker import best_slope, logits

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cross") / "base"
    save_cross_encoder(path, WORDS, ["useful"], scale=1)
    return path


def test_a_reranker_learns_which_documents_are_useful(cross_encoder: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    learned = fit_here(course(cross_encoder), tmp_path / "t", lambda done, total: steps.append((done, total)))
    assert steps[-1] == (72, 72)
    before, after = learned.curves.stopping[0][1], min(loss for _, loss in learned.curves.stopping)
    assert after < 0.7 * before and learned.epoch in [epoch for epoch, _ in learned.curves.stopping]
    held = lists(30, 2)
    lessons, texts = as_lessons(held)
    found = logits(learned.folder, lessons, lessons.present, texts, course(cross_encoder).settings)
    assert (found.argmax(1) == 3).mean() > 0.8
    assert best_slope(lessons, found, lessons.similarity, TransformerConfig()) < 80  # similarity is noise here
    assert fit_here(course(cross_encoder), tmp_path / "t", lambda done, total: pytest.fail("trained again")).epoch == (
        learned.epoch
    )


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_last_checkpoint(cross_encoder: Path, tmp_path: Path) -> None:
    whole = fit_here(course(cross_encoder), tmp_path / "whole", lambda done, total: None)

    def killed(done: int, total: int) -> None:
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_here(course(cross_encoder), tmp_path / "t", killed)
    assert not (tmp_path / "t" / "model").exists()
    steps: list[int] = []
    resumed = fit_here(course(cross_encoder), tmp_path / "t", lambda done, total: steps.append(done))
    assert 30 < steps[0] <= 41 and steps[-1] == 72
    assert resumed.epoch == whole.epoch
    np.testing.assert_allclose(
        [loss for _, loss in resumed.curves.stopping], [loss for _, loss in whole.curves.stopping], rtol=0.05
    )


def test_an_encoder_learns_and_is_one(tmp_path: Path) -> None:
    save_encoder(tmp_path / "base", WORDS)
    base = tmp_path / "base" / "model"
    learned = fit_here(course(base, "encoder", temperature=0.2), tmp_path / "t", lambda done, total: None)
    assert min(loss for _, loss in learned.curves.stopping) < learned.curves.stopping[0][1]

    def right(model: str) -> float:
        encoder, held = Encoder(EncoderConfig(model=model, dtype="float32", max_tokens=32)), lists(30, 2)
        queries = encoder.encode_queries(held.questions)
        passages = encoder.encode_passages([text for own in held.documents for text in own]).reshape(30, 4, -1)
        return float((np.einsum("nd,nkd->nk", queries, passages).argmax(1) == 3).mean())

    assert right(str(learned.folder)) > right(str(base)) + 0.1


def test_lists_of_an_encoder_are_of_one_length() -> None:
    found = Lists(["a", "b"], [["1", "2", "3"], ["4"]], [[-1.0, 0.0, -2.0], [0.0]])
    assert columns(found, 2) == {"question": ["a"], "document_0": ["2"], "document_1": ["1"], "label": [[0.0, -1.0]]}


def test_a_loss_that_is_no_number_ends_it(cross_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(WbragError, match="expected a finite loss, found .*: lower the learning rate"):
        fit_here(course(cross_encoder, learning_rate=1e30), tmp_path / "t", lambda done, total: None)
    assert not (tmp_path / "t" / "model").exists()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"expected the package datasets .*: pip install 'wbrag\[train\]'"):
        courses.need_packages()


def as_lessons(held: Lists) -> tuple[Lessons, Texts]:
    """The lists as lessons with random vectors."""
    n, k = len(held.questions), len(SUBJECTS)
    contents = [text for own in held.documents for text in own]
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n * k, 4)).astype(np.float32)
    logprob = np.array(held.weights, np.float32)
    lessons = Lessons(
        tuple(map(str, range(n))),
        rng.standard_normal((n, 4)).astype(np.float32),
        tuple(map(str, range(n * k))),
        vectors,
        np.arange(n * k).reshape(n, k),
        np.ones((n, k), bool),
        rng.standard_normal((n, k)).astype(np.float32),
        logprob,
        np.full(n, -7.0, np.float32),
        logprob == 0,
    )
    return lessons, Texts(held.questions, contents)
