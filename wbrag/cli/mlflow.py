"""MLflow reports: what a job found, as a run of MLflow, where `MLFLOW_TRACKING_URI` says where and `mlflow` is there.

A tracking server that is away costs the report, never the job.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from wbrag.core.config import Config
from wbrag.core.errors import said

log = logging.getLogger(__name__)
URI = "MLFLOW_TRACKING_URI"
REPORTED = ("index", "enrich", "check", "evaluate", "publish", "refresh", "learn", "bench", "train retriever")
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}  # its own: 120 s, 7 times
LONGEST = 500  # characters of a parameter


def report(verb: str, result: Any, config: Config) -> None:
    """Numbers as metrics, texts as parameters with the settings that were chosen, and the whole result as a file."""
    if not os.environ.get(URI) or verb not in REPORTED or not isinstance(result, Mapping):
        return
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow  # type: ignore[import-not-found]
    except ImportError:
        log.warning("%s is set, and this run is not reported: pip install mlflow-skinny", URI)
        return
    try:
        if not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            mlflow.set_experiment("wbrag")
        with mlflow.start_run(run_name=f"{verb} {result.get('examples') or ''}".strip()):
            mlflow.set_tags({"wbrag.verb": verb, "wbrag.workspace": str(config.workspace)})
            mlflow.log_metrics(dict(_numbers("", result)))
            mlflow.log_params({**_texts(result), **_chosen(config)})
            mlflow.log_text(json.dumps(result, indent=1, ensure_ascii=False, default=str), "result.json")
    except Exception as error:  # whatever it or its server raises
        log.warning("this run is not reported to MLflow: %s", said(error))


def _numbers(prefix: str, found: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}{name}.", value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}{name}", float(value)
        elif isinstance(value, list) and len(value) == 2 and all(isinstance(one, float) for one in value):
            yield f"{prefix}{name}.low", value[0]  # an interval
            yield f"{prefix}{name}.high", value[1]


def _texts(found: Mapping[str, Any]) -> dict[str, str]:
    return {name: value[:LONGEST] for name, value in found.items() if isinstance(value, str) and value}


def _chosen(config: Config) -> dict[str, str]:
    """Every setting that is not at its default; addresses of stores may hold passwords, so none of their options."""
    default, given = Config.model_construct().model_dump(mode="json"), config.model_dump(mode="json")
    chosen = {f"config.{name}": value for name, value in _leaves("", given, default)}
    return {name: str(value)[:LONGEST] for name, value in chosen.items() if "retriever.options" not in name}


def _leaves(prefix: str, given: Mapping[str, Any], default: Any) -> Iterator[tuple[str, Any]]:
    for name, value in given.items():
        other = default.get(name) if isinstance(default, Mapping) else None
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from _leaves(f"{prefix}{name}.", value, other)
        elif value != other:
            yield f"{prefix}{name}", value
