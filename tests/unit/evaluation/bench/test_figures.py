"""Parts of a suite come together: each cell once, in the suite's order, corrected over all, made of the same things."""

from __future__ import annotations

from typing import Any

import pytest

from wbrag.evaluation.bench.figures import Bench, joined

CELLS = {"m; naive; b": "1", "m; naive; a": "2"}
MADE = {"cells": CELLS, "suite": {"pools": {"both": ["a", "b"]}}}


def bench(gains: dict[str, float], p: float = 0.03, **made: Any) -> Bench:
    rows: list[dict[str, Any]] = [
        {"model": "m", "method": "naive", "set": name, "over": "base", "gain": gain, "n": 50, "se": 0.02}
        for name, gain in gains.items()
    ]
    found = [row | {"p": p, "wins": 2, "losses": 1} for row in rows]
    return Bench("s", rows, found, [], [], [], MADE | made)


def test_the_later_of_two_cells_stays_and_all_are_corrected() -> None:
    part = joined(None, bench({"a": 0.1}))
    assert part.comparisons[0]["p_holm"] == 0.03 and part.pooled == []
    again = joined(part, bench({"a": 0.2}))
    whole = joined(again, bench({"b": 0.3}))
    assert [(r["set"], r["gain"]) for r in whole.comparisons] == [("b", 0.3), ("a", 0.2)], "the suite's order"
    assert [r["p_holm"] for r in whole.comparisons] == [0.06, 0.06]
    assert [round(r["gain"], 2) for r in whole.pooled] == [0.25]


@pytest.mark.parametrize("cells", [CELLS | {"m; naive; a": "3"}, {"m; naive; b": "1"}])
def test_a_cell_made_of_other_things_or_gone_from_the_suite_is_left_out(
    cells: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    whole = joined(bench({"a": 0.1}), bench({"b": 0.3}, cells=cells))
    assert [r["set"] for r in whole.comparisons] == ["b"] and not whole.pooled
    assert "m; naive; a" in caplog.text


def test_figures_without_such_names_join_nothing() -> None:
    old = bench({"a": 0.1}, cells={})
    assert [r["set"] for r in joined(old, bench({"b": 0.3})).comparisons] == ["b"]


def test_a_run_that_did_not_read_a_cells_examples_says_nothing_of_it() -> None:
    """A run of one set in a new folder took the others for cells of other questions, and dropped them."""
    whole = joined(bench({"a": 0.1}), bench({"b": 0.3}, cells=CELLS | {"m; naive; a": ""}))
    assert [r["set"] for r in whole.comparisons] == ["b", "a"] and whole.made["cells"] == CELLS
    unknown = joined(bench({"a": 0.1}, cells=CELLS | {"m; naive; a": ""}), bench({"b": 0.3}))
    assert [r["set"] for r in unknown.comparisons] == ["b"]
