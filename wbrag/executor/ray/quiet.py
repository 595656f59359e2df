"""Ray's console output, kept off stderr, where wbrag shows its progress bars.

Nothing is lost: what goes wrong comes as an exception, and Ray keeps log files of its own.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ray.util.annotations import RayDeprecationWarning

if TYPE_CHECKING:
    from ray.data import DataContext


def data_context() -> DataContext:
    """Ray Data's context with its bars and remarks off."""
    from ray.data import DataContext  # only where it is used: it takes a second or two

    os.environ.setdefault("RAY_DATA_USAGE_DISABLED", "1")  # else a process starts that counts its use for Ray's makers
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong comes as an exception
    # `max_restarts` has no other way in than the one that Ray 2.64 takes away; wbrag asks for an older Ray.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a slow model or a spot node to come may take over Ray's 30 minutes
    return context


@contextmanager
def quiet_start() -> Iterator[None]:
    """Ray's C++ part writes to descriptor 2 directly while it starts; what goes wrong comes as an exception."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
