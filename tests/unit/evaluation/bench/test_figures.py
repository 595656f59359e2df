"""Parts of a suite come together: each cell once, the later one, corrected over all; never with figures of others."""

from __future__ import annotations

from typing import Any

import pytest

from wbrag.core.errors import WbragError
from wbrag.evaluation.bench.figures import Bench, check_same, joined

MADE = {"corpus": "c", "seed": 0, "generators": {"m": "1"}, "suite": {"pools": {"both": ["a", "b"]}}}


def bench(gains: dict[str, float], p: float = 0.03) -> Bench:
    rows = [{"model": "m", "method": "naive", "set": name, "over": "base"} for name in gains]
    found: list[dict[str, Any]] = [
        row | {"gain": gain, "n": 50, "se": 0.02, "p": p, "wins": 2, "losses": 1}
        for row, gain in zip(rows, gains.values())
    ]
    return Bench("s", [], found, [], [], [], MADE)


def test_the_later_of_two_cells_stays_and_all_are_corrected() -> None:
    part = joined(None, bench({"a": 0.1}))
    assert part.comparisons[0]["p_holm"] == 0.03 and part.pooled == []
    whole = joined(part, bench({"b": 0.3, "a": 0.2}))
    assert {r["set"]: r["gain"] for r in whole.comparisons} == {"a": 0.2, "b": 0.3}
    assert [r["p_holm"] for r in whole.comparisons] == [0.06, 0.06]
    assert [round(r["gain"], 2) for r in whole.pooled] == [0.25]


def test_figures_of_another_corpus_or_model_are_not_joined() -> None:
    check_same(bench({}), MADE, "f")
    check_same(bench({}), MADE | {"generators": {"other": "2"}}, "f")
    check_same(bench({}), MADE | {"settings": {"ray": {"block_rows": 9}}}, "f")
    other = {"corpus": "d", "generators": {"m": "2"}, "settings": {"enrich": {"tau_s": 0.2}}}
    with pytest.raises(WbragError, match="the same corpus, settings of enrich, model m, found others"):
        check_same(bench({}), MADE | other, "f")
