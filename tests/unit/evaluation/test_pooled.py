"""Pooled effects against figures worked by hand, and the redrawn questions of the demo's world."""

from __future__ import annotations

import math

import pytest
from scipy.stats import t

from wbrag.core.errors import UsageError
from wbrag.data.demo.facts import TEST_NEW, TRAIN, examples, well_known
from wbrag.evaluation.bench.comparisons import pooled_over
from wbrag.evaluation.pooled import pool_effects, standard_error


def test_equal_errors_give_the_mean_and_its_spread() -> None:
    """With errors of 1 and effects 0, 3, 6: Q = 18, tau2 = (18 - 2) / 2 = 8, the error is sqrt(18 / 6)."""
    found = pool_effects([0.0, 3.0, 6.0], [1.0, 1.0, 1.0])
    assert found.gain == pytest.approx(3) and found.tau == pytest.approx(math.sqrt(8))
    half = float(t.ppf(0.975, 2)) * math.sqrt(3)
    assert found.ci95 == pytest.approx((3 - half, 3 + half))
    assert found.p == pytest.approx(2 * float(t.sf(3 / math.sqrt(3), 2)))


def test_alike_effects_have_no_spread_and_are_no_surer_than_their_questions() -> None:
    found = pool_effects([2.0, 2.0], [1.0, 0.5])
    assert found.gain == pytest.approx(2) and found.tau == 0
    assert found.ci95.high - 2 == pytest.approx(float(t.ppf(0.975, 1)) * math.sqrt(1 / 5))


def test_a_set_where_nothing_changed_does_not_decide_alone() -> None:
    sure, few = standard_error([0.0] * 100), standard_error([0.0] * 10)
    assert (sure, few) == (0.01, 0.1) and standard_error([1.0]) == math.inf
    found = pool_effects([0.0, 0.1, 0.2], [few, 0.05, 0.05])
    assert 0.1 < found.gain < 0.2 and pool_effects([0.0, 0.0], [sure, few]).p == 1


def test_draws_are_about_other_subjects_that_the_model_knows_nothing_of() -> None:
    taught = {question for questions, _ in well_known() for question in questions}
    draws = [examples(draw) for draw in range(6)]
    assert examples(1) == draws[1] and all(len(d["train"]) == TRAIN and len(d["new_facts"]) == TEST_NEW for d in draws)
    subjects = [{e.metadata["subject"] for part in draw.values() for e in part} for draw in draws]
    assert len(set().union(*subjects)) == sum(map(len, subjects)), "a subject is in two draws"
    for found in draws[1:]:
        trained = {(e.metadata["subject"], e.metadata["relation"]) for e in found["train"]}
        about = {name: {(e.metadata["subject"], e.metadata["relation"]) for e in found[name]} for name in found}
        assert about["reworded"] <= trained and trained.isdisjoint(about["new_facts"])
        assert taught.isdisjoint(e.question for part in found.values() for e in part)
    with pytest.raises(UsageError, match="expected a draw of 1 to"):
        examples(99)


def test_a_pool_counts_each_stratum_apart() -> None:
    def row(of: str, gain: float, **more: object) -> dict[str, object]:
        name = {"model": "m", "method": "naive", "over": "base", "set": of}
        return name | {"n": 50, "gain": gain, "se": 0.02, "p": 0.5, "wins": 1, "losses": 0} | more

    comparisons = [row("one", 0.1), row("two", 0.3), row("other", 0.9)]
    strata = [row("one", 0.2, stratum="same passage"), row("two", 0.4, stratum="same passage")]
    strata.append(row("one", 0.0, stratum="neither"))
    found = {r["stratum"]: r for r in pooled_over(comparisons, strata, {"both": ["one", "two"]})}
    assert {name: round(r["gain"], 3) for name, r in found.items()} == {"all": 0.2, "same passage": 0.3}
    assert found["all"]["n"] == 100 and all(r["p_holm"] >= r["p"] for r in found.values())
