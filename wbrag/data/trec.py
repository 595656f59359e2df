"""TREC run files and qrels: read and written, so that ir_measures and trec_eval can score retrieval.

Formats: https://github.com/usnistgov/trec_eval (`qid Q0 docid rank score tag`, `qid iter docid relevance`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, write_atomically

TrecRun = dict[str, list[tuple[str, float]]]  # question id -> (passage id, score), best first
Qrels = dict[str, dict[str, int]]  # question id -> passage id -> relevance


def run_of(rows: Iterable[Mapping[str, Any]]) -> TrecRun:
    """The retrieval of answer records, as `evaluate` keeps them."""
    return {row["id"]: list(zip(row["hit_ids"] or (), row["hit_scores"] or ())) for row in rows}


def write_run(path: Location, run: Mapping[str, Sequence[tuple[str, float]]], tag: str = "wbrag") -> None:
    lines = (
        f"{_word(question)} Q0 {_word(passage)} {rank} {score:.6f} {_word(tag)}\n"
        for question, hits in run.items()
        for rank, (passage, score) in enumerate(hits, 1)
    )
    write_atomically(path, "".join(lines))


def write_qrels(path: Location, qrels: Mapping[str, Mapping[str, int]]) -> None:
    lines = (f"{_word(q)} 0 {_word(p)} {relevance}\n" for q, found in qrels.items() for p, relevance in found.items())
    write_atomically(path, "".join(lines))


def read_run(path: Location) -> TrecRun:
    """Hits by question, by falling score as trec_eval orders them; ties by id."""
    run: TrecRun = {}
    for number, (question, _, passage, _, score, _) in _fields(path, 6):
        run.setdefault(question, []).append((passage, _number(path, number, score)))
    return {question: sorted(hits, key=lambda hit: (-hit[1], hit[0])) for question, hits in run.items()}


def read_qrels(path: Location) -> Qrels:
    qrels: Qrels = {}
    for number, (question, _, passage, relevance) in _fields(path, 4):
        qrels.setdefault(question, {})[passage] = int(_number(path, number, relevance))
    return qrels


def _fields(path: Location, count: int) -> Iterable[tuple[int, list[str]]]:
    if not path.is_file():
        raise WbragError(f"expected a TREC file at {path}, found nothing: check the path")
    with io.StringIO(path.read_text(encoding="utf-8")) as lines:
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if fields and len(fields) != count:
                raise WbragError(
                    f"expected {count} fields in {path}, line {number}, found {len(fields)}: mend the line"
                )
            if fields:
                yield number, fields


def _number(path: Location, line: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise WbragError(f"expected a number in {path}, line {line}, found {text!r}: mend the line") from None


def _word(text: str) -> str:
    """White space separates fields, so none may stand in an id."""
    return "_".join(text.split())
