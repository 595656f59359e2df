"""The diagnosis page stands alone, trusts no text, and names the worst cause."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wbrag.core.metrics import wilson
from wbrag.evaluation.diagnosis.causes import CAUSES
from wbrag.evaluation.diagnosis.diagnose import Case, Diagnosis, Part, tables
from wbrag.evaluation.report.diagnosis_page import render, write_diagnosis
from wbrag.evaluation.report.wording import diagnosed

HOSTILE = '<script>alert(1)</script> & "quoted" <img src="https://example.org/x.png">'
CASE = Case("e1", HOSTILE, (HOSTILE, "b"), HOSTILE, "", 7, (HOSTILE, HOSTILE))


def found(**counts: int) -> Diagnosis:
    n = sum(counts.values())
    parts = [Part(CAUSES[k], v, v / n, wilson(v, n), (CASE, replace(CASE, rank=None))) for k, v in counts.items()]
    return Diagnosis("nq/train", "naive", "a model", "an encoder", n, 2, 5, 50, tuple(parts), (3, 40))


def test_nothing_that_was_retrieved_becomes_markup() -> None:
    page = render(found(known=3, unused=5, missing=2))
    assert "<script" not in page and "<img" not in page and "alert(1)" in page
    assert "&lt;script&gt;" in page and "<code>wbrag enrich</code>" in page
    assert "at rank 7" in page and "in nothing that was found" in page and "7.5%" in page


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"known": 3, "helped": 2}, "100.0% of the questions are answered with the library."),
        (
            {"known": 1, "unused": 2, "missing": 1},
            "25.0% of the questions are answered with the library; of the others, 66.7%",
        ),
        ({"missing": 4}, "0.0% of the questions are answered with the library; of the others, 100.0%"),
    ],
)
def test_the_headline_is_counted(counts: dict[str, int], said: str) -> None:
    assert diagnosed(found(**counts)).startswith(said)


def test_the_terminal_is_told_what_is_wrong_and_what_helps() -> None:
    (title, _, rows), (_, _, levers), _ = tables(found(known=3, unused=5), "x.html")
    assert title == "nq/train: 3 of 8 questions are answered with the library"
    assert [row[0] for row in rows] == ["right", "WRONG"]
    assert len(levers) == 1 and "wbrag enrich packs" in levers[0][1] and "`" not in str(levers)


def test_page_and_figures_are_written(tmp_path: Path) -> None:
    write_diagnosis(found(known=3, ranking=5), tmp_path / "reports" / "d.html")
    figures = json.loads((tmp_path / "reports" / "d.json").read_text(encoding="utf-8"))
    assert [part["cause"]["name"] for part in figures["parts"]] == ["known", "ranking"]
    assert (tmp_path / "reports" / "d.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_what_other_splits_share_is_told_where_there_are_some() -> None:
    touching = {"nq/dev": {"same passage": 3, "neither": 5}}
    shared = replace(found(known=3, ranking=5), touching=touching)
    page = render(shared)
    assert "What these questions share" in page and "<td>3</td><td>0</td><td>5</td><td>0</td>" in page
    assert "What these questions share" not in render(found(known=1))
    [rows] = [rows for _, head, rows in tables(shared, "x.html") if head[0] == "shares with"]
    assert rows == [["nq/dev", "3", "0", "5", "0"]]
    assert json.loads(json.dumps(shared.to_json()))["touching"] == touching
