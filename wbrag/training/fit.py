"""Fitting: a course through sentence-transformers' trainer in this process; a killed one goes on from a checkpoint.

Ray Train runs the same trainer (`wbrag.executor.ray.train`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wbrag.core.errors import WbragError
from wbrag.training import encoder, reader, reranker
from wbrag.training.adapter import Curves
from wbrag.training.course import Course, ReadingCourse

HISTORY = "history.json"
Update = Callable[[int, int], None]
AnyCourse = Course | ReadingCourse


@dataclass(frozen=True)
class Learned:
    """A trained model's folder, its losses, and the epoch whose weights these are."""

    folder: Path
    curves: Curves
    epoch: float

    @staticmethod
    def read(folder: Path) -> Learned:
        """What `save` left there."""
        found = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
        curves = Curves(*([(epoch, loss) for epoch, loss in found[name]] for name in ("taught", "stopping")))
        return Learned(folder / "model", curves, found["epoch"])


def trainer_of(course: AnyCourse, folder: Path) -> Any:
    """A Hugging Face trainer over the model, which keeps its checkpoints in `folder`."""
    from transformers.trainer_callback import PrinterCallback

    found = _trainer(course, folder)
    found.remove_callback(PrinterCallback)
    found.add_callback(finite())
    return found


def _trainer(course: AnyCourse, folder: Path) -> Any:
    if isinstance(course, ReadingCourse):
        return reader.trainer(course, folder)
    return (reranker if course.kind == "reranker" else encoder).trainer(course, folder)


def save(trainer: Any, folder: Path) -> None:
    """The best weights as `folder/model`, and the losses beside them, written last."""
    log = trainer.state.log_history
    taught = [(e["epoch"], e["loss"]) for e in log if "loss" in e]
    stopping = [(e["epoch"], e["eval_loss"]) for e in log if "eval_loss" in e]
    best = min(stopping, key=lambda one: one[1], default=(0.0, 0.0))[0]
    trainer.model.save_pretrained(str(folder / "model"), create_model_card=False)
    history = {"taught": taught, "stopping": stopping, "epoch": best}
    (folder / HISTORY).write_text(json.dumps(history), encoding="utf-8")


def fit_here(course: AnyCourse, folder: Path, update: Update) -> Learned:
    """Train in this process; what an earlier one of the same course left in `folder` is gone on with."""
    if (folder / HISTORY).is_file():
        return Learned.read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = trainer_of(course, folder)
    trainer.add_callback(progress(update))
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    save(trainer, folder)
    return Learned.read(folder)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint in `folder`."""
    found = [file.parent for file in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(found, key=lambda one: int(one.name.split("-")[1]))) if found else None


def progress(update: Update) -> Any:
    """A callback that tells `update` of steps."""
    from transformers import TrainerCallback

    class Told(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            update(state.global_step, state.max_steps)

    return Told()


def finite() -> Any:
    """A callback that ends a training whose loss is no number."""
    from transformers import TrainerCallback

    class Finite(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            for name in ("loss", "eval_loss"):
                if logs and name in logs and not np.isfinite(logs[name]):
                    raise WbragError(
                        f"expected a finite loss, found {logs[name]} at step {state.global_step}: "
                        "lower the learning rate"
                    )

    return Finite()
