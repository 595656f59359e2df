"""Training on Ray: a course on the workers of Ray Train, each of which builds the same trainer.

Checkpoints go to the workspace, so that a lost worker or node costs what came after the last of them. They go again
when the model has been fetched.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from wbrag.core.env import cores, hide_gpus
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.files import Location, cache_folder, folder_in_one_step
from wbrag.training.fit import HISTORY, AnyCourse, Learned, Update, last_checkpoint, save, trainer_of

FAILURES = 3  # of workers, and as often of the controller, that a training survives
KEPT = 2  # checkpoints
MODEL = "learned"  # in the last report of the first worker
CHECKPOINT = "checkpoint"  # in the others


def fit_on_ray(course: AnyCourse, folder: Path, workspace: Location, update: Update, gpus: float = 0) -> Learned:
    """Train on `workers` workers; the model is fetched into `folder` of this machine. `gpus`: of the cluster.

    Raises `UsageError` where the workers' GPUs are more than those, `WbragError` for what fails in a worker.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    if (folder / HISTORY).is_file():
        return Learned.read(folder)
    s = course.settings
    if (wanted := s.workers * s.gpus_per_worker) > gpus + 1e-6:
        raise UsageError(
            f"expected {wanted:g} GPUs for {s.workers} training workers of {s.gpus_per_worker:g}, found {gpus:g} in "
            f"the cluster: lower train.{course.kind}.workers or gpus_per_worker"
        )
    scaling = ScalingConfig(
        num_workers=s.workers, use_gpu=s.gpus_per_worker > 0, resources_per_worker=_resources(s.gpus_per_worker)
    )
    storage = workspace / "training"
    run = RunConfig(
        name=folder.name,  # of what is learned: a killed run of the same is gone on with
        storage_path=str(storage),
        failure_config=FailureConfig(max_failures=FAILURES, controller_failure_limit=FAILURES),
        checkpoint_config=CheckpointConfig(num_to_keep=KEPT),
    )
    try:
        found = TorchTrainer(_work, train_loop_config={"course": course}, scaling_config=scaling, run_config=run).fit()
    except Exception as error:  # Ray Train's errors have a base of their own
        raise _in_one_sentence(error) from None
    assert found.checkpoint is not None
    with found.checkpoint.as_directory() as there, folder_in_one_step(folder) as scratch:
        shutil.copytree(Path(there) / MODEL, scratch, dirs_exist_ok=True)
    if isinstance(storage, Path):
        shutil.rmtree(storage / folder.name, ignore_errors=True)
    update(1, 1)
    return Learned.read(folder)


def _resources(gpus: float) -> dict[str, float]:
    return {"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}


def _in_one_sentence(error: Exception) -> WbragError:
    """A worker's own sentence where it has one, else what the first of them found."""
    failures = list(getattr(error, "worker_failures", {}).values()) or [error]
    for failure in failures:
        cause = getattr(failure, "cause", None) or failure.__cause__ or failure
        if isinstance(cause, WbragError):
            return cause
    said = " ".join(str(failures[0]).split())
    return WbragError(f"expected the training to finish, found {said[-300:]}: mend that and start it again")


def _work(config: dict[str, Any]) -> None:
    """One worker: the trainer's own loop, over its share of the batches."""
    import ray.train
    import torch

    course: AnyCourse = config["course"]
    if not course.settings.gpus_per_worker:
        hide_gpus()
        torch.set_num_threads(max(1, cores() // course.settings.workers))  # Ray's default is one
    first = ray.train.get_context().get_world_rank() == 0
    before = ray.train.get_checkpoint()
    if before is not None:
        with before.as_directory() as there:
            if (Path(there) / MODEL / HISTORY).is_file():  # killed after the last step
                ray.train.report({}, checkpoint=before if first else None)
                return
    name = ray.train.get_context().get_experiment_name()
    folder = cache_folder() / "training" / f"{name}-worker{ray.train.get_context().get_world_rank()}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _train(course, folder, before, first)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _train(course: AnyCourse, folder: Path, before: Any, first: bool) -> None:
    import ray.train
    from ray.train.huggingface.transformers import prepare_trainer

    folder.mkdir(parents=True)
    trainer = trainer_of(course, folder)
    trainer.add_callback(_reports())
    trainer = prepare_trainer(trainer)
    if before is not None:  # under the names that its state speaks of, so that the best one is found again
        with before.as_directory() as there:
            shutil.copytree(Path(there) / CHECKPOINT, folder, dirs_exist_ok=True)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    whole = folder / "report"
    if first:
        save(trainer, whole / MODEL)
    ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(whole) if first else None)


def _reports() -> Any:
    """A callback that hands every checkpoint to Ray Train, with the best one so far beside the newest.

    Ray Train puts the files of all workers together; those that are not the first add the state of their dice.
    """
    import ray.train
    from transformers import TrainerCallback

    class Reports(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            whole = Path(args.output_dir) / "report"
            shutil.rmtree(whole, ignore_errors=True)
            wanted = "*" if state.is_world_process_zero else str(state.global_step)
            for one in Path(args.output_dir).glob(f"checkpoint-{wanted}"):
                shutil.copytree(one, whole / CHECKPOINT / one.name)
            ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(whole))

    return Reports()
