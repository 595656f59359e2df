"""A headline says on what, how sure, and which control was not beaten."""

from __future__ import annotations

from typing import Any

from wbrag.evaluation.bench.comparisons import correct
from wbrag.evaluation.bench.figures import Bench
from wbrag.evaluation.bench.headlines import headlines


def test_a_claim_names_all_that_makes_it_doubtful() -> None:
    def row(over: str, gain: float, p: float, **more: Any) -> dict[str, Any]:
        about = {"model": "m", "method": "naive", "over": over, "n": 136, "gain": gain, "p": p}
        return about | {"gain_ci95": [gain - 0.02, gain + 0.02], "wins": 9, "losses": 1} | more

    strata = [
        row(over, gain, p, set="squad", stratum="same passage")
        for over, gain, p in (("base", 0.05, 0.01), ("control_raw", 0.04, 0.02), ("control_copies", 0.01, 0.6))
    ]
    correct(strata)
    pool = {"pool": "all", "sets": 3, "stratum": "neither", "ci95": [-0.03, 0.01]}
    pooled = [row("base", -0.01, 0.4, **pool)]
    correct(pooled)
    assert headlines(Bench("s", [], [], [], [], [], strata=strata, pooled=pooled)) == [
        "**all (3 sets pooled)**, m, naive, neither, 136 questions: -1.0 (-3.0 to +1.0) points over the base, p 0.4 "
        "after Holm, no difference beyond chance.",
        "**squad**, m, naive, same passage, 136 questions: +5.0 (+3.0 to +7.0) points over the base, p 0.01 after "
        "Holm, a gain; beats raw; does not beat copies (+1.0).",
    ]
