"""Run summary: the figures of the paper's Table 3 over verdict rows, the calls, and a digest of every decision.

The digest is equal for a resumed and an unbroken run.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
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


RATES = {f"{name}_rate": name for name in ("fallback", "evidence_fallback", "rewrite_fallback")}


def verdicts_sha256(rows: Iterable[Row]) -> str:
    """A digest over the sorted verdicts: equal for a resumed and an unbroken run, with and without the skip."""
    return _sha256([decision(row) for row in rows])


def decision(row: Row) -> str:
    """What was decided on an example, as one line."""
    return json.dumps([row[name] for name in DECIDING], sort_keys=True)


def _sha256(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def summarise(rows: Iterable[Row], top_k: int) -> dict[str, Any]:
    """Counts and means over verdict rows.

    `calls.formula` is what Algorithm 1 asks without the lossless skip: for naive RAG 2N + K|D|, two for each
    distillation, and one or two for its round trip; `saved` are those skipped, and those that earlier runs made. A
    skipped answer counts as one call, whatever the method. With `enrich.record: all`, and where the model is asked for
    scores, both counts hold what that costs on top.
    """
    tally = _Tally(top_k)
    for row in rows:  # once: rows become Python's as they are looked at
        tally.add(row)
    n = tally.counts
    return {
        "examples": len(tally.lines),
        "quarantined": n["quarantined"],
        "verdicts_sha256": _sha256(tally.lines),
        "accepted": n["accepted"],
        "closed_book_suffices": tally.reasons["closed book suffices"],
        "retrieval_did_not_help": tally.reasons["retrieval did not help"],
        "calls": {"made": n["made"], "formula": n["formula"], "saved": n["formula"] - n["made"]},
        "ends": {name: tally.ends[name] for name in ENDS if tally.ends[name]},
        "retained_docs_mean": _mean(tally.values["retained_docs"]),
        **{name: _mean(tally.values[of]) for name, of in RATES.items()},
        "source_words_mean": _mean(tally.values["source_words"]),
        "unit_words_mean": _mean(tally.values["unit_words"]),
        "round_trip_rate": _mean(tally.values["round_trip"]),
        "compression_mean": _mean(tally.values["compression"]),
        "leaking": sorted(tally.leaking),
        "retained_ranks": tally.ranks,
    }


class _Tally:
    """What is kept of the rows that were seen."""

    def __init__(self, top_k: int) -> None:
        self.counts, self.reasons, self.ends = Counter[str](), Counter[str](), Counter[str]()
        self.values: defaultdict[str, list[float]] = defaultdict(list)
        self.lines, self.leaking, self.ranks = list[str](), list[str](), [0] * top_k

    def add(self, row: Row) -> None:
        self.lines.append(decision(row))
        self.ends.update(json.loads(row["ends"] or "{}"))
        asked = row["calls"] + (row["reused_calls"] or 0)
        self.counts["made"] += row["calls"]
        self.counts["formula"] += asked + (row["s_rag"] is None and not row["error"])
        self.counts["quarantined"] += bool(row["error"])
        self.reasons[str(row["reason"])] += 1
        if row["accepted"]:
            self._accepted(row)

    def _accepted(self, row: Row) -> None:
        self.counts["accepted"] += 1
        found = {
            "retained_docs": len(row["retained"]),
            "compression": row["source_words"] / max(1, row["unit_words"]),
            **{name: row[name] for name in (*RATES.values(), "source_words", "unit_words")},
        }
        if row.get("s_unit") is not None:
            found["round_trip"] = row["s_unit"] >= row["s_kept"]
        for name, value in found.items():
            self.values[name].append(value)
        for rank in range(len(self.ranks)):
            self.ranks[rank] += rank in row["retained"]
        if leaks(row):
            self.leaking.append(row["id"])


def ends(rows: Iterable[Row]) -> dict[str, int]:
    """How the model's replies ended, over all rows that say so."""
    total: Counter[str] = Counter()
    for row in rows:
        total.update(json.loads(row["ends"] or "{}"))
    return {name: total[name] for name in ENDS if total[name]}


def _mean(values: Sequence[float]) -> float:
    return round(float(mean(values)), 4) if values else 0.0
