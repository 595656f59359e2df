"""Tables and files that earlier versions wrote have the same columns now, and are read and appended to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.delta import append
from wbrag.core.io.schemas import from_table, schema_of, to_table
from wbrag.core.types import Evidence, Example, Passage, PassageText, Unit
from wbrag.data import CORPUS_SCHEMA, EXAMPLES_SCHEMA
from wbrag.enrich.rows import SCHEMAS
from wbrag.retrieval.index.shard import PASSAGES
from wbrag.serving.keys import SessionSecret
from wbrag.units.checks import CheckResult, Span
from wbrag.units.decisions import Decision
from wbrag.units.examinations import Examination
from wbrag.units.learn import Lesson
from wbrag.units.releases import Release
from wbrag.units.stored import UNITS
from wbrag.units.table import UnitTable
from wbrag.units.usage import Feedback, Served

# The schemas of commit 5d4b1af, which kept them by hand: workspaces made until then hold tables of these columns.
_text, _number, _flag = pa.string(), pa.float64(), pa.bool_()
_pairs = pa.list_(pa.struct([("id", _text), ("content_hash", _text)]))
_evidence = pa.list_(pa.struct([("passage_id", _text), ("sentence", _text)]))
_unit_fields = [
    ("sources", _pairs),
    ("unit_title", _text),
    ("unit_text", _text),
    ("evidence", _evidence),
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
KEPT_BY_HAND = {
    "corpus": [
        *((name, _text) for name in ("id", "title", "text", "source", "updated_at")),
        ("trust", pa.float32()),
        ("start", pa.int32()),
        ("end", pa.int32()),
    ],
    "examples": [
        ("id", _text),
        ("question", _text),
        ("golden_answers", pa.list_(_text)),
        ("task", _text),
        ("metadata", _text),
    ],
    "passages": [("id", _text), ("title", _text), ("text", _text)],
    "secret": [("secret", _text)],
    "units": [
        ("id", _text),
        ("title", _text),
        ("text", _text),
        ("question_ids", pa.list_(_text)),
        ("sources", _pairs),
        ("evidence", _evidence),
        ("scores", _text),
        ("model", _text),
        ("prompt_version", _text),
        ("config_fingerprint", _text),
        ("created_at", _text),
        ("encoder", _text),
        ("vector", pa.list_(pa.float32())),
    ],
    "decisions": [
        ("number", pa.int64()),
        *((name, _text) for name in ("unit_id", "state", "before", "at", "by", "policy", "why")),
    ],
    "releases": [
        ("id", _text),
        ("number", pa.int64()),
        *((name, _text) for name in ("action", "created_at", "parent", "restores")),
        *((name, _text) for name in ("base_manifest", "base_sha256", "writeback_manifest", "writeback_sha256")),
        ("units_version", pa.int64()),
        ("units", pa.int64()),
        *((name, _text) for name in ("encoder", "note", "by", "canary")),
    ],
    "checks": [("number", pa.int64()), *((name, _text) for name in ("unit_id", "at", "fingerprint", "results"))],
    "usage": [
        *((name, _text) for name in ("request_id", "at", "by", "release", "method", "task", "question", "answer")),
        ("hit_ids", pa.list_(_text)),
        ("hit_origins", pa.list_(_text)),
        ("hit_scores", pa.list_(_number)),
        ("seconds", _number),
    ],
    "feedback": [
        ("number", pa.int64()),
        *((name, _text) for name in ("request_id", "at", "by")),
        ("rating", pa.int8()),
        ("comment", _text),
    ],
    "learned": [
        *((name, _text) for name in ("request_id", "at", "outcome", "why")),
        ("grounding", _number),
        ("unit_id", _text),
    ],
    "verdicts": [
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
        *_unit_fields,
        ("source_passages", pa.list_(pa.struct([("id", _text), ("title", _text), ("text", _text)]))),
    ],
    "answers": [
        ("id", _text),
        ("question", _text),
        ("golden_answers", pa.list_(_text)),
        ("prediction", _text),
        ("score", _number),
        ("hit_ids", pa.list_(_text)),
        ("hit_scores", pa.list_(_number)),
        ("hit_origins", pa.list_(_text)),
        *((name, pa.int32()) for name in ("calls", "prompt_tokens", "output_tokens", "retrievals")),
        ("seconds", _number),
        ("details", _text),
        ("error", _text),
    ],
    "distilled": [("id", _text), ("question", _text), *_unit_fields],
}
NOW = {
    "corpus": CORPUS_SCHEMA,
    "examples": EXAMPLES_SCHEMA,
    "passages": PASSAGES,
    "secret": schema_of(SessionSecret),
    "units": UNITS,
    "decisions": schema_of(Decision),
    "releases": schema_of(Release),
    "checks": schema_of(Examination),
    "usage": schema_of(Served),
    "feedback": schema_of(Feedback),
    "learned": schema_of(Lesson),
    "verdicts": SCHEMAS["enrich"],
    "answers": SCHEMAS["evaluate"],
    "distilled": SCHEMAS["distil"],
}


LATER = {  # columns that came after version 0.1; they stand where they like, and files without them stay readable
    "units": ["parent", "witnesses"],
    "releases": ["retriever", "retriever_sha256"],
    "verdicts": ["unit_calls", "read_calls", "reused_calls", "step_calls", "ends", "asked", "usefulness"]
    + ["witnesses", "witness_calls"],
    "answers": ["ends", "asked"],
    "distilled": ["unit_calls", "read_calls", "asked", "witnesses", "witness_calls"],
}


@pytest.mark.parametrize("name", KEPT_BY_HAND)
def test_every_table_has_the_columns_that_it_had(name: str) -> None:
    then = [field for field in NOW[name] if field.name not in LATER.get(name, [])]
    assert pa.schema(then).equals(pa.schema(KEPT_BY_HAND[name]), check_metadata=True)
    assert set(LATER.get(name, [])) <= set(NOW[name].names)


UNIT = Unit(
    "Lamp",
    "It is oak.",
    ("q1", "q2"),
    (("p1", "aa"), ("p2", "bb")),
    (Evidence("p1", "It is oak."),),
    {"s_unit": 1.0, "s_doc_0": 0.5},
    "tiny",
    "v1",
    "f1",
    "2026-01-01",
)
UNIT_ROW = {
    "id": UNIT.id,
    "title": "Lamp",
    "text": "It is oak.",
    "question_ids": ["q1", "q2"],
    "sources": [{"id": "p1", "content_hash": "aa"}, {"id": "p2", "content_hash": "bb"}],
    "evidence": [{"passage_id": "p1", "sentence": "It is oak."}],
    "scores": '{"s_doc_0": 0.5, "s_unit": 1.0}',
    "model": "tiny",
    "prompt_version": "v1",
    "config_fingerprint": "f1",
    "created_at": "2026-01-01",
    "encoder": "e",
    "vector": [0.6, 0.8],
}
EXAMINED = Examination(
    "wb-1",
    "t",
    "f",
    (CheckResult("trust", True, None, None, "fine"), CheckResult("a", False, 0.5, 0.7, "no", (Span(0, 3, False),))),
    number=4,
)
EXAMINED_ROW = {
    "number": 4,
    "unit_id": "wb-1",
    "at": "t",
    "fingerprint": "f",
    "results": '[{"name": "trust", "passed": true, "score": null, "threshold": null, "explanation": "fine", '
    '"spans": []}, {"name": "a", "passed": false, "score": 0.5, "threshold": 0.7, "explanation": "no", '
    '"spans": [{"start": 0, "end": 3, "supported": false}]}]',
}
SERVED = Served(
    "r1", "t", "ana", "r0001", "naive", "qa", "?", "oak", ("p1", "wb-1"), ("base", "writeback"), (1, 0.5), 2
)
SERVED_ROW = {
    "request_id": "r1",
    "at": "t",
    "by": "ana",
    "release": "r0001",
    "method": "naive",
    "task": "qa",
    "question": "?",
    "answer": "oak",
    "hit_ids": ["p1", "wb-1"],
    "hit_origins": ["base", "writeback"],
    "hit_scores": [1.0, 0.5],
    "seconds": 2.0,
}
BEFORE: dict[str, tuple[Any, dict[str, Any]]] = {
    "corpus": (
        Passage("p1", "Lamp", "It is oak.", "notes", "2026", 0.5, 3, 13),
        {"id": "p1", "title": "Lamp", "text": "It is oak.", "source": "notes", "updated_at": "2026"}
        | {"trust": 0.5, "start": 3, "end": 13},
    ),
    "examples": (
        Example("q1", "?", ("oak", "an oak"), "qa", {"level": {"n": 1}}),
        {"id": "q1", "question": "?", "golden_answers": ["oak", "an oak"], "task": "qa"}
        | {"metadata": '{"level": {"n": 1}}'},
    ),
    "passages": (PassageText("p1", "Lamp", "oak"), {"id": "p1", "title": "Lamp", "text": "oak"}),
    "secret": (SessionSecret("00ff"), {"secret": "00ff"}),
    "decisions": (
        Decision(3, "wb-1", "approved", "candidate", "t", "ana", "person", "read it"),
        {"number": 3, "unit_id": "wb-1", "state": "approved", "before": "candidate", "at": "t", "by": "ana"}
        | {"policy": "person", "why": "read it"},
    ),
    "releases": (
        Release("r0001", 1, "publish", "t", "", "", "b", "b1", "w", "w1", 2, 5, "e", "first", "ana", "{}"),
        {"id": "r0001", "number": 1, "action": "publish", "created_at": "t", "parent": "", "restores": ""}
        | {"base_manifest": "b", "base_sha256": "b1", "writeback_manifest": "w", "writeback_sha256": "w1"}
        | {"units_version": 2, "units": 5, "encoder": "e", "note": "first", "by": "ana", "canary": "{}"},
    ),
    "checks": (EXAMINED, EXAMINED_ROW),
    "usage": (SERVED, SERVED_ROW),
    "feedback": (
        Feedback("r1", "t", "ana", -1, "wrong year", number=7),
        {"number": 7, "request_id": "r1", "at": "t", "by": "ana", "rating": -1, "comment": "wrong year"},
    ),
    "learned": (
        Lesson("r1", "t", "passed over", "nobody liked it"),
        {"request_id": "r1", "at": "t", "outcome": "passed over", "why": "nobody liked it"}
        | {"grounding": None, "unit_id": ""},
    ),
}


@pytest.mark.parametrize("name", BEFORE)
def test_a_file_of_before_is_read_and_one_of_now_is_equal(name: str, tmp_path: Path) -> None:
    record, row = BEFORE[name]
    pq.write_table(pa.Table.from_pylist([row], pa.schema(KEPT_BY_HAND[name])), tmp_path / "before.parquet")
    pq.write_table(to_table(type(record), [record]), tmp_path / "now.parquet")
    before = pq.read_table(tmp_path / "before.parquet")
    assert from_table(type(record), before) == [record]
    assert before.equals(pq.read_table(tmp_path / "now.parquet", columns=before.column_names))
    assert getattr(from_table(type(record), before)[0], "number", 0) == row.get("number", 0)


@pytest.mark.parametrize("name", [name for name in BEFORE if name not in ("corpus", "examples", "passages")])
def test_a_table_of_before_is_read_and_appended_to(name: str, tmp_path: Path) -> None:
    record, row = BEFORE[name]
    append(tmp_path / "log", pa.Table.from_pylist([row], pa.schema(KEPT_BY_HAND[name])))
    log = AppendLog(tmp_path / "log", type(record))
    assert log.rows() == [record]
    log.append([record])
    assert log.rows() == [record] * 2 and log.version == 1
    assert log.table().select(pa.schema(KEPT_BY_HAND[name]).names).schema.equals(pa.schema(KEPT_BY_HAND[name]))
    assert set(log.table().column_names) == set(NOW[name].names)


def test_units_of_before_are_read_and_added_to(tmp_path: Path) -> None:
    append(tmp_path / "units", pa.Table.from_pylist([UNIT_ROW], pa.schema(KEPT_BY_HAND["units"])))
    table = UnitTable(tmp_path / "units")
    [stored] = table.read()
    assert (stored.unit, stored.encoder, stored.vector.dtype) == (UNIT, "e", np.float32)
    np.testing.assert_array_equal(stored.vector, np.array([0.6, 0.8], np.float32))
    table.add([replace(UNIT, text="It is ash.")], np.array([[0.0, 1.0]], np.float32), "e", 0.97)
    kept = DeltaTable(str(tmp_path / "units")).to_pyarrow_table()
    rows = {row["text"]: row for row in kept.to_pylist()}
    assert len(rows) == 2 and kept.schema.equals(pa.schema(KEPT_BY_HAND["units"]))
    changed = {"id", "text", "vector"}
    for text in rows:
        assert {k: v for k, v in rows[text].items() if k not in changed} == {
            k: v for k, v in UNIT_ROW.items() if k not in changed
        }
