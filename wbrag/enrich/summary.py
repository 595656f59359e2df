"""Run summary: the figures of the paper's Table 3 over verdict rows, the calls, and a digest of every decision.

The digest is equal for a resumed and an unbroken run.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from statistics import mean
from typing import Any

from wbrag.enrich.leakage_audit import leaks
from wbrag.enrich.rows import Row

ENDS = ("stop", "length", "empty", "thinking only", "thinking stripped")
DECIDING = (
    "id",
    "accepted",
    "reason",
    "s_nr",
    "s_doc",
    "retained",
    "fallback",
    "sources",
    "unit_title",
    "unit_text",
    "s_unit",
    "evidence",
    "error",
)


def verdicts_sha256(rows: Sequence[Row]) -> str:
    """A digest over the sorted verdicts: equal for a resumed and an unbroken run, with and without the skip."""
    lines = [json.dumps([row[name] for name in DECIDING], sort_keys=True) for row in rows]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def summarise(rows: Sequence[Row], top_k: int) -> dict[str, Any]:
    """Counts and means over verdict rows.

    `calls.formula` is what Algorithm 1 asks without the lossless skip: for naive RAG 2N + K|D|, two for each
    distillation, and one or two for its round trip; `saved` are those skipped, and those that earlier runs made. A
    skipped answer counts as one call, whatever the method. With `enrich.record: all`, and where the model is asked for
    scores, both counts hold what that costs on top.
    """
    accepted = [row for row in rows if row["accepted"]]
    made = sum(row["calls"] for row in rows)
    reused = sum(row["reused_calls"] or 0 for row in rows)
    formula = made + reused + sum(1 for row in rows if row["s_rag"] is None and not row["error"])
    return {
        "examples": len(rows),
        "quarantined": sum(1 for row in rows if row["error"]),
        "verdicts_sha256": verdicts_sha256(rows),
        "accepted": len(accepted),
        "closed_book_suffices": sum(1 for row in rows if row["reason"] == "closed book suffices"),
        "retrieval_did_not_help": sum(1 for row in rows if row["reason"] == "retrieval did not help"),
        "calls": {"made": made, "formula": formula, "saved": formula - made},
        "ends": ends(rows),
        "retained_docs_mean": _mean([len(row["retained"]) for row in accepted]),
        "fallback_rate": _mean([row["fallback"] for row in accepted]),
        "evidence_fallback_rate": _mean([row["evidence_fallback"] for row in accepted]),
        "rewrite_fallback_rate": _mean([row["rewrite_fallback"] for row in accepted]),
        "source_words_mean": _mean([row["source_words"] for row in accepted]),
        "unit_words_mean": _mean([row["unit_words"] for row in accepted]),
        "round_trip_rate": _mean([row["s_unit"] >= row["s_kept"] for row in accepted if row.get("s_unit") is not None]),
        "compression_mean": _mean([row["source_words"] / max(1, row["unit_words"]) for row in accepted]),
        "leaking": sorted(row["id"] for row in accepted if leaks(row)),
        "retained_ranks": [sum(rank in row["retained"] for row in accepted) for rank in range(top_k)],
    }


def ends(rows: Sequence[Row]) -> dict[str, int]:
    """How the model's replies ended, over all rows that say so."""
    total: Counter[str] = Counter()
    for row in rows:
        total.update(json.loads(row["ends"] or "{}"))
    return {name: total[name] for name in ENDS if total[name]}


def _mean(values: Sequence[float]) -> float:
    return round(float(mean(values)), 4) if values else 0.0
