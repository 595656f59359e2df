"""Row codec: verdicts, answers and units as they lie in Parquet, and examples as they travel to an actor.

This is the one place that spells their columns. A column that an older file lacks reads as None, and a tuple that went
out as a list comes back as one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.io.files import Location, file_in_one_step, listed
from wbrag.core.io.parquet import read_all
from wbrag.core.types import Answer, Evidence, Example, Unit
from wbrag.enrich.enrich import Verdict, WrittenUnit

Row = dict[str, Any]
Kind = Literal["enrich", "evaluate", "distil"]


class Run(NamedTuple):
    """A row per example, in their order, how many were already there, and the folder they are in."""

    rows: list[Row]
    resumed: int
    folder: Location


_text, _number, _flag = pa.string(), pa.float64(), pa.bool_()
_pair = pa.struct([("id", _text), ("content_hash", _text)])
_evidence = pa.struct([("passage_id", _text), ("sentence", _text)])
_passage = pa.struct([("id", _text), ("title", _text), ("text", _text)])

UNIT_FIELDS = [
    ("sources", pa.list_(_pair)),
    ("unit_title", _text),
    ("unit_text", _text),
    ("evidence", pa.list_(_evidence)),
    ("evidence_fallback", _flag),
    ("rewrite_fallback", _flag),
    ("source_words", pa.int32()),
    ("unit_words", pa.int32()),
    ("s_unit", _number),
    ("s_kept", _number),
    ("answer_in_unit", _flag),
    ("answer_in_sources", _flag),
    ("calls", pa.int32()),
    ("error", _text),
]
VERDICTS = pa.schema(
    [
        ("id", _text),
        ("question", _text),
        ("task", _text),
        ("accepted", _flag),
        ("reason", _text),
        ("s_nr", _number),
        ("s_rag", _number),
        ("s_doc", pa.list_(_number)),
        ("closed_book", _text),
        ("open_book", _text),
        ("solo", pa.list_(_text)),
        ("hit_ids", pa.list_(_text)),
        ("hit_scores", pa.list_(_number)),
        ("retained", pa.list_(pa.int32())),
        ("fallback", _flag),
        *UNIT_FIELDS,
        ("source_passages", pa.list_(_passage)),  # where the corpus is elsewhere
    ]
)
ANSWERS = pa.schema(
    [
        ("id", _text),
        ("question", _text),
        ("golden_answers", pa.list_(_text)),
        ("prediction", _text),
        ("score", _number),
        ("hit_ids", pa.list_(_text)),
        ("hit_scores", pa.list_(_number)),
        ("hit_origins", pa.list_(_text)),
        ("calls", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("retrievals", pa.int32()),
        ("seconds", _number),
        ("details", _text),
        ("error", _text),
    ]
)
UNITS = pa.schema([("id", _text), ("question", _text), *UNIT_FIELDS])
SCHEMAS: dict[Kind, pa.Schema] = {"enrich": VERDICTS, "evaluate": ANSWERS, "distil": UNITS}
SCORES = ("s_nr", "s_rag", "s_unit", "s_kept", "answer_in_unit", "answer_in_sources")  # what a unit carries along


def verdict_row(verdict: Verdict) -> Row:
    """A verdict with its unit's columns beside its own."""
    own = asdict(verdict)
    del own["written"]
    return own | unit_columns(verdict.written)


def unit_columns(written: WrittenUnit | None) -> Row:
    """The columns of a unit; empty where there is none."""
    if written is None:
        return _NO_UNIT
    figures = asdict(written)
    del figures["unit"]
    unit = written.unit
    return figures | {
        "unit_title": unit.title,
        "unit_text": unit.text,
        "sources": [{"id": id, "content_hash": digest} for id, digest in unit.sources],
        "evidence": [asdict(evidence) for evidence in unit.evidence],
    }


_NO_UNIT: Row = {
    "unit_title": "",
    "unit_text": "",
    "sources": [],
    "evidence": [],
    "evidence_fallback": False,
    "rewrite_fallback": False,
    "source_words": 0,
    "unit_words": 0,
    "s_unit": None,
    "s_kept": None,
    "answer_in_unit": None,
    "answer_in_sources": None,
}


def answer_row(example: Example, answer: Answer, score: float) -> Row:
    """What one question was answered, from which hits, and what that cost."""
    return {
        **_asked(example),
        "prediction": answer.text,
        "score": score,
        "hit_ids": [h.id for h in answer.hits],
        "hit_scores": [round(h.score, 6) for h in answer.hits],
        "hit_origins": [h.origin for h in answer.hits],
        **asdict(answer.cost),
        "details": json.dumps(answer.details),
        "error": "",
    }


def failed_answer_row(example: Example, error: str) -> Row:
    return {**_asked(example), "prediction": "", "score": 0.0, "error": error}


def _asked(example: Example) -> Row:
    return {"id": example.id, "question": example.question, "golden_answers": list(example.golden_answers)}


def unit_of(row: Mapping[str, Any], **made_with: str) -> Unit:
    """The unit of an accepted verdict's row, or of a distilled one.

    `made_with` names model, prompt version, fingerprint and time.
    """
    return Unit(
        row["unit_title"],
        row["unit_text"],
        (row["id"],),
        tuple((source["id"], source["content_hash"]) for source in row["sources"]),
        tuple(Evidence(e["passage_id"], e["sentence"]) for e in row["evidence"]),
        {name: float(row[name]) for name in SCORES if row.get(name) is not None}
        | {f"s_doc_{i}": s for i, s in enumerate(row.get("s_doc") or ())},
        **made_with,
    )


def example_json(example: Example) -> str:
    """An example as text, for an actor elsewhere."""
    return json.dumps(asdict(example))


def example_of(text: str) -> Example:
    """The example that `example_json` wrote."""
    row = json.loads(text)
    return Example(**row | {"golden_answers": tuple(row["golden_answers"])})


def write_rows(folder: Location, kind: Kind, rows: Sequence[Mapping[str, Any]], name: str | None = None) -> None:
    """Add `rows` to the output folder as one file, which takes the place of an earlier one of the same `name`."""
    with file_in_one_step(folder / f"{name or uuid4().hex}.parquet") as scratch:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], SCHEMAS[kind]), scratch, compression="zstd")


def read_rows(folder: Location, kind: Kind) -> dict[str, Row]:
    """Every finished row by id. A row that ended in an error counts only where no other run got it right.

    Of several that did the first by file name counts, of several that did not the last: no clock decides.
    """
    blank: Row = dict.fromkeys(SCHEMAS[kind].names)
    rows: dict[str, Row] = {}
    for table in read_all(listed(folder, "*.parquet")):
        for row in table.to_pylist():
            if row["id"] not in rows or rows[row["id"]]["error"]:
                rows[row["id"]] = blank | row
    return rows
