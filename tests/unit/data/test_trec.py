"""TREC files: what is written is read back, and what is malformed is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.errors import WbragError
from wbrag.data.trec import read_qrels, read_run, run_of, write_qrels, write_run

word = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)


@given(st.dictionaries(word, st.dictionaries(word, st.integers(-999, 999), min_size=1), max_size=5))
def test_runs_and_qrels_come_back(tmp_path_factory: pytest.TempPathFactory, found: dict[str, dict[str, int]]) -> None:
    folder = tmp_path_factory.mktemp("trec")
    run = {
        q: sorted(((p, s / 1000) for p, s in hits.items()), key=lambda h: (-h[1], h[0])) for q, hits in found.items()
    }
    write_run(folder / "run", run)
    write_qrels(folder / "qrels", found)
    assert read_run(folder / "run") == run
    assert read_qrels(folder / "qrels") == found


def test_the_format_is_trec_evals(tmp_path: Path) -> None:
    rows = [
        {"id": "q 1", "hit_ids": ["p2", "p1"], "hit_scores": [0.9, 0.25]},
        {"id": "q2", "hit_ids": None, "hit_scores": None},
    ]
    write_run(tmp_path / "run", run_of(rows), tag="my run")
    assert (tmp_path / "run").read_text() == "q_1 Q0 p2 1 0.900000 my_run\nq_1 Q0 p1 2 0.250000 my_run\n"


@pytest.mark.parametrize(("line", "said"), [("q Q0 p 1 0.5", "line 2, found 5"), ("q Q0 p 1 high tag", "'high'")])
def test_a_malformed_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "run").write_text(f"q Q0 p 1 0.5 tag\n{line}\n")
    with pytest.raises(WbragError, match=said):
        read_run(tmp_path / "run")
    with pytest.raises(WbragError, match="found nothing"):
        read_qrels(tmp_path / "none")
