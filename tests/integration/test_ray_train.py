"""Ray Train: two workers share a course and give one model, one of them killed or none; none is trained again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support.courses import WORDS, course
from tests.support.hosts import OnRay
from tests.support.nodes import wait_until
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


def test_a_killed_worker_costs_what_came_after_the_last_checkpoint(on_ray: OnRay, tmp_path: Path) -> None:
    """Its successor goes on from there, to the losses of a training that nobody disturbed."""
    save_cross_encoder(tmp_path / "base", WORDS, ["useful"], scale=1)
    on_ray.session.connect()
    own = course(tmp_path / "base", workers=2, epochs=8)
    whole = fit_on_ray(own, tmp_path / "whole", tmp_path / "w", lambda done, total: None)
    kept = tmp_path / "w" / "training" / "broken"
    with ThreadPoolExecutor(1) as pool:
        broken = pool.submit(fit_on_ray, own, tmp_path / "broken", tmp_path / "w", lambda done, total: None)
        wait_until(lambda: broken.done() or max(checkpoints(kept).values(), default=0) > 3, "checkpoints", 300)
        assert not broken.done()
        first = workers()
        assert len(first) == 2
        first[0].kill()
        before, after = checkpoints(kept), dict[str, int]()
        while not broken.done():
            after |= checkpoints(kept)
            time.sleep(0.02)
        learned = broken.result()
    again = [step for name, step in after.items() if name not in before]
    assert again and min(again) > 1, "it began anew"
    np.testing.assert_allclose(learned.curves.stopping, whole.curves.stopping, rtol=1e-3)
    assert learned.epoch == whole.epoch and not kept.exists()


def checkpoints(folder: Path) -> dict[str, int]:
    """Those that Ray Train has of a run now, and after which step each was made."""
    found: dict[str, int] = {}
    for file in folder.glob("checkpoint_*/checkpoint/checkpoint-*/trainer_state.json"):
        name, step = file.parts[-4], int(file.parent.name.split("-")[1])
        found[name] = max(found.get(name, 0), step)
    return found


def workers() -> list[psutil.Process]:
    """Ray Train's, of this machine."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "RayTrainWorker" in "".join(process.cmdline()):
                found.append(process)
    return found
