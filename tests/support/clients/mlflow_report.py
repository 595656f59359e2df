"""What a job reports to MLflow, read back with MLflow's own client. Prints one JSON object."""

from __future__ import annotations

import json
import os
import sys

import mlflow

from wbrag.cli.mlflow import report
from wbrag.core.config import load

result = {
    "examples": "toy/dev",
    "n": 4,
    "score": 0.5,
    "ci95": [0.1, 0.9],
    "ends": {"stop": 4},
    "warnings": [],
    "p": float("nan"),
}
config = load(workspace=sys.argv[1], retrieval={"top_k": 7}, retriever={"options": {"password": "secret"}})
report("evaluate", result, config)
report("units list", {"n": 1}, config)
os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
mlflow.set_tracking_uri("http://127.0.0.1:9")
report("evaluate", result, config)  # is not there, and says so
mlflow.set_tracking_uri(sys.argv[2])
[run] = mlflow.search_runs(experiment_names=["wbrag"], output_format="list")
kept = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/result.json")
print(
    json.dumps(
        {
            "name": run.info.run_name,
            "metrics": run.data.metrics,
            "params": run.data.params,
            "score": json.loads(kept)["score"],
        }
    )
)
