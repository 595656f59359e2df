"""Exported answers as ir_measures reads them. Prints one JSON object."""

import json
import sys

import ir_measures
from ir_measures import R, nDCG

run, qrels = ir_measures.read_trec_run(sys.argv[1]), ir_measures.read_trec_qrels(sys.argv[2])
found = ir_measures.calc_aggregate([nDCG @ 5, R @ 5], list(qrels), list(run))
print(json.dumps({str(measure): value for measure, value in found.items()}))
