"""Where a course is trained: in this process, or on the workers of Ray Train.

Engines are stopped first: they hold GPUs, and on a CPU an idle one costs a training half its speed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wbrag.executor.models import Models
from wbrag.training.fit import AnyCourse, Learned, Update, fit_here


def fitted(models: Models, course: AnyCourse, folder: Path, update: Update) -> Learned:
    """Train, or go on with what a killed training left in `folder` or in the workspace.

    With GPUs, a worker has one unless the settings say otherwise: this process would keep its memory from the engines.
    """
    settings, session = course.settings, models.session
    session.free_engines()
    gpus = session.gpus()
    if not settings.workers and not gpus:
        return fit_here(course, folder, update)
    from wbrag.executor.ray.train import fit_on_ray

    if not settings.workers:
        own = settings.model_copy(update={"workers": 1, "gpus_per_worker": settings.gpus_per_worker or 1.0})
        course = replace(course, settings=own)  # type: ignore[arg-type]
    return fit_on_ray(course, folder, models.layout.path, update, gpus)
