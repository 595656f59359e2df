"""Training on Ray: a course on the workers of Ray Train, each of which builds the same trainer.

Checkpoints go to the workspace, so that a lost worker or node costs what came after the last of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from wbrag.core.io.files import Location, folder_in_one_step
from wbrag.executor.ray.failures import translated
from wbrag.training.course import Course
from wbrag.training.fit import HISTORY, Learned, Update, save, trainer_of

FAILURES = 3  # of workers, that a training survives
MODEL = "learned"  # in the last checkpoint of the first worker


@translated("the training")
def fit_on_ray(course: Course, folder: Path, workspace: Location, update: Update) -> Learned:
    """Train on `train.<kind>.workers` workers; the model is fetched into `folder` of this machine."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    if (folder / HISTORY).is_file():
        return Learned.read(folder)
    s = course.settings
    scaling = ScalingConfig(
        num_workers=s.workers, use_gpu=s.gpus_per_worker > 0, resources_per_worker=_resources(s.gpus_per_worker)
    )
    run = RunConfig(
        name=folder.name,  # of what is learned: a killed run of the same is gone on with
        storage_path=str(workspace / "training"),
        failure_config=FailureConfig(max_failures=FAILURES),
    )
    found = TorchTrainer(_work, train_loop_config={"course": course}, scaling_config=scaling, run_config=run).fit()
    assert found.checkpoint is not None
    with found.checkpoint.as_directory() as there, folder_in_one_step(folder) as scratch:
        _copy(Path(there) / MODEL, scratch)
    update(1, 1)
    return Learned.read(folder)


def _resources(gpus: float) -> dict[str, float]:
    return {"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}


def _work(config: dict[str, Any]) -> None:
    """One worker: the trainer's own loop, over its share of the batches."""
    import ray.train
    from ray.train.huggingface.transformers import RayTrainReportCallback, prepare_trainer

    course: Course = config["course"]
    with tempfile.TemporaryDirectory(prefix="wbrag-train-") as scratch:
        folder = Path(scratch)
        trainer = trainer_of(course, folder)
        trainer.add_callback(RayTrainReportCallback())
        trainer = prepare_trainer(trainer)
        if before := ray.train.get_checkpoint():
            with before.as_directory() as there:
                trainer.train(resume_from_checkpoint=str(Path(there) / RayTrainReportCallback.CHECKPOINT_NAME))
        else:
            trainer.train()
        first = ray.train.get_context().get_world_rank() == 0
        if first:
            save(trainer, folder / MODEL)
        checkpoint = ray.train.Checkpoint.from_directory(folder) if first else None
        ray.train.report({}, checkpoint=checkpoint)


def _copy(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target, dirs_exist_ok=True)
