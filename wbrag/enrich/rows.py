"""Row codec: verdicts, answers and units as they lie in Parquet, and examples as they travel to an actor.

This is the one place that spells their columns. A column that an older file lacks reads as None, and a tuple that went
out as a list comes back as one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from wbrag.core import prompts
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location
from wbrag.core.io.schemas import from_row, schema_of, to_row
from wbrag.core.types import Answer, Cost, Example, PassageText, Unit
from wbrag.enrich.enrich import NOTHING, Known, Verdict, WrittenUnit

Row = dict[str, Any]
Kind = Literal["enrich", "evaluate", "distil"]


class Run(NamedTuple):
    """A row per example, in their order, how many were already there, and the folder they are in."""

    rows: Sequence[Row]
    resumed: int
    folder: Location


_unit, _written = schema_of(Unit), schema_of(WrittenUnit)
_end = [("calls", pa.int32()), ("error", pa.string())]
_asked = ("asked", pa.string())  # `asked_key` of the example, by which other runs find the row
UNIT_COLUMNS = [
    ("sources", _unit.field("sources").type),
    ("unit_title", pa.string()),
    ("unit_text", pa.string()),
    ("evidence", _unit.field("evidence").type),
    *(field for field in _written if field.name != "unit"),
]
UNITS = pa.schema([("id", pa.string()), ("question", pa.string()), *UNIT_COLUMNS, *_end, _asked])
VERDICTS = pa.schema(
    [
        *(field for field in schema_of(Verdict) if field.name not in ("written", "calls", "error")),
        *UNIT_COLUMNS,
        *_end,
        ("source_passages", pa.list_(pa.struct(list(schema_of(PassageText))))),  # where the corpus is elsewhere
        _asked,
    ]
)
ANSWERS = pa.schema(
    [
        *(field for field in schema_of(Example) if field.name in ("id", "question", "golden_answers")),
        ("prediction", pa.string()),
        ("score", pa.float64()),
        ("hit_ids", pa.list_(pa.string())),
        ("hit_scores", pa.list_(pa.float64())),
        ("hit_origins", pa.list_(pa.string())),
        *schema_of(Cost),
        ("details", pa.string()),
        ("error", pa.string()),
        _asked,
    ]
)
SCHEMAS: dict[Kind, pa.Schema] = {"enrich": VERDICTS, "evaluate": ANSWERS, "distil": UNITS}
SCORES = ("s_nr", "s_rag", "s_unit", "s_kept", "answer_in_unit", "answer_in_sources")  # what a unit carries along


def verdict_row(verdict: Verdict) -> Row:
    """A verdict with its unit's columns beside its own; these are empty where there is no unit."""
    row = to_row(verdict)
    del row["written"]
    return row | (unit_columns(verdict.written) if verdict.written else _NO_UNIT)


def unit_columns(written: WrittenUnit) -> Row:
    """The columns of a unit."""
    row = to_row(written)
    unit = row.pop("unit")
    return {name: unit[name.removeprefix("unit_")] for name in ("sources", "unit_title", "unit_text", "evidence")} | row


def verdict_of(row: Row) -> Verdict:
    """The verdict that a row holds."""
    return replace(from_row(Verdict, row), written=written_of(row) if row["accepted"] and row["unit_text"] else None)


def written_of(row: Row) -> WrittenUnit:
    """The unit of an accepted verdict's row, or of a distilled one, as it was written."""
    unit = Unit(row["unit_title"], row["unit_text"], (row["id"],), (), ())
    return from_row(WrittenUnit, row | {"unit": to_row(unit) | {name: row[name] for name in ("sources", "evidence")}})


_NO_UNIT = unit_columns(WrittenUnit(Unit("", "", (), (), ()), False, False, 0, 0))


def answer_row(example: Example, answer: Answer, score: float) -> Row:
    """What one question was answered, from which hits, and what that cost."""
    return {
        **_question(example),
        "prediction": answer.text,
        "score": score,
        "hit_ids": [h.id for h in answer.hits],
        "hit_scores": [round(h.score, 6) for h in answer.hits],
        "hit_origins": [h.origin for h in answer.hits],
        **to_row(answer.cost),
        "details": json.dumps(answer.details),
        "error": "",
    }


def failed_answer_row(example: Example, error: str) -> Row:
    return {**_question(example), "prediction": "", "score": 0.0, "error": error}


def _question(example: Example) -> Row:
    return {"id": example.id, "question": example.question, "golden_answers": list(example.golden_answers)}


def unit_of(row: Mapping[str, Any], **made_with: str) -> Unit:
    """The unit of an accepted verdict's row, or of a distilled one.

    `made_with` names model, prompt version, fingerprint and time.
    """
    scores = {name: float(row[name]) for name in SCORES if row.get(name) is not None}
    if row.get("witnesses") is not None:
        scores["witnesses"] = float(row["witness_calls"] or 0)
    scores |= {f"s_doc_{i}": s for i, s in enumerate(row.get("s_doc") or ())}
    unit = {
        "title": row["unit_title"],
        "text": row["unit_text"],
        "question_ids": [row["id"]],
        "sources": row["sources"],
        "evidence": row["evidence"],
        "witnesses": row.get("witnesses") or [],
        "scores": json.dumps(scores),
    }
    return from_row(Unit, unit | made_with)


def asked_key(example: Example, prompts_dir: str | None = None) -> str:
    """What a row's own settings do not say: the example and its task's prompts, and not the rest of its file."""
    asked = (example.id, example.question, example.golden_answers, example.task, example.metadata.get("documents"))
    return fingerprint(*asked, prompts.digest(prompts.of(example.task), prompts_dir))


def example_json(example: Example, known: Known = NOTHING) -> str:
    """An example as text, for an actor elsewhere, with what earlier runs know of it."""
    return json.dumps(to_row(example) | ({"known": to_row(known)} if known != NOTHING else {}))


def example_of(text: str) -> tuple[Example, Known]:
    """What `example_json` wrote."""
    row = json.loads(text)
    return from_row(Example, row), from_row(Known, row["known"]) if "known" in row else NOTHING
