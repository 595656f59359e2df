"""Exported answers as ragas reads them. Prints one JSON object."""

import json
import sys

from ragas import EvaluationDataset

samples = EvaluationDataset.from_jsonl(sys.argv[1])
print(json.dumps({"samples": len(samples), "kind": type(samples[0]).__name__, "first": samples[0].model_dump()}))
