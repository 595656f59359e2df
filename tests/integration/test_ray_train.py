"""Ray Train: two workers share a course and give one model; what is finished is not trained again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.courses import WORDS, course
from tests.support.hosts import OnRay
from tests.support.tiny_bert import save_cross_encoder, save_encoder
from wbrag.executor.ray.train import fit_on_ray

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("kind", ["reranker", "encoder"])
def test_two_workers_train_one_model(on_ray: OnRay, tmp_path: Path, kind: str) -> None:
    if kind == "reranker":
        save_cross_encoder(base := tmp_path / "base", WORDS, ["useful"], scale=1)
    else:
        save_encoder(tmp_path / "base", WORDS)
        base = tmp_path / "base" / "model"
    on_ray.session.connect()
    told: list[tuple[int, int]] = []
    own = course(base, kind, workers=2, epochs=3, temperature=0.2)
    learned = fit_on_ray(own, tmp_path / "fit", tmp_path / "w", lambda done, total: told.append((done, total)))
    assert told[-1] == (1, 1) and learned.curves.stopping[-1][1] < learned.curves.stopping[0][1]
    assert (learned.folder / "config.json").is_file()
    again = fit_on_ray(own, tmp_path / "fit", tmp_path / "w", lambda done, total: pytest.fail("trained again"))
    assert again == learned
