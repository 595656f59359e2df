"""What rows teach: which are left out and why, how many are needed, and who is held out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.errors import WbragError
from wbrag.core.types import Example
from wbrag.enrich.enrich import Verdict
from wbrag.enrich.usefulness import Candidate, Usefulness
from wbrag.training.lessons import FEWEST, Labelled, Left, enough, labelled, lessons, split
from wbrag.training.measures import measure


def row(
    id: str, *logprobs: float | None, nr: float | None = -3.0, error: str = "", gold: str = ""
) -> tuple[Example, Verdict]:
    candidates = tuple(Candidate(f"p{n}", 0.9 - n / 10, None, logprob) for n, logprob in enumerate(logprobs))
    example = Example(id, f"{id}?", ("x",), metadata={"gold": [gold]} if gold else {})
    return example, Verdict(id, f"{id}?", "qa", False, "", error=error, usefulness=Usefulness(candidates, nr))


def test_rows_that_teach_nothing_are_counted_by_their_reason() -> None:
    rows = [
        row("a", -1.0, -2.0, None),
        row("b", -1.0, -1.0),
        row("c", -1.0, math.nan),
        row("d", -1.0, -2.0, nr=-math.inf),
        row("e", -1.0, None),
        row("f", -1.0, -2.0, error="it failed"),
        (Example("g", "?", ("x",)), Verdict("g", "?", "qa", False, "")),
        row("h", -1.0, -2.0, nr=None),
    ]
    kept, left = labelled(rows)
    assert [found.example.id for found in kept] == ["a"]
    assert left == Left(failed=1, unlabelled=3, broken=2, alike=1)


def test_too_few_are_refused_with_what_the_others_lack() -> None:
    kept = [Labelled(*pair) for pair in [(row("a", -1.0, -2.0)[0], (), -1.0)]] * (FEWEST - 1)
    with pytest.raises(
        WbragError, match=rf"at least {FEWEST} questions of nq/train .* found 99; 3 have no likelihoods"
    ):
        enough(kept, Left(unlabelled=3), "nq/train")
    enough([*kept, kept[0]], Left(), "nq/train")


def test_they_become_arrays_row_for_row() -> None:
    kept, _ = labelled([row("a", -1.0, -2.0, None, gold="p1"), row("b", -4.0, -3.0)])
    vectors = {f"p{n}": np.eye(4, dtype=np.float32)[n] for n in range(3)}
    found = lessons(kept, np.ones((2, 4), np.float32), vectors)
    assert len(found) == 2 and found.passages.shape == (3, 4)
    np.testing.assert_array_equal(found.present, [[True, True, True], [True, True, False]])
    np.testing.assert_array_equal(found.asked, [[True, True, False], [True, True, False]])
    np.testing.assert_array_equal(found.gold, [[False, True, False], [False, False, False]])
    np.testing.assert_array_equal(found.passages[found.places[0]], np.eye(4)[:3])
    assert found.part([1]).ids == ("b",) and found.part([1]).logprob[0, 1] == -3.0


def test_the_measures_by_hand() -> None:
    kept, _ = labelled([row("a", -1.0, -2.0, None, gold="p1"), row("b", -4.0, -3.0)])
    found = lessons(kept, np.ones((2, 4), np.float32), {f"p{n}": np.ones(4, np.float32) for n in range(3)})
    by_rank = measure(found, np.array([[3.0, 2.0, 1.0], [2.0, 1.0, 9.0]], np.float32))
    np.testing.assert_array_equal(by_rank.recall_at_1, [0.0, np.nan])
    np.testing.assert_array_equal(by_rank.mrr_at_10, [0.5, np.nan])
    np.testing.assert_allclose(by_rank.utility_ndcg_at_5, [1.0, 1 / math.log2(3)])


@given(st.lists(st.text(max_size=6), unique=True, max_size=60), st.text(min_size=7, max_size=7), st.integers(0, 5))
def test_one_question_more_moves_no_other(ids: list[str], more: str, seed: int) -> None:
    before, after = split(ids, seed), split([*ids, more], seed)
    assert sorted(row for part in before for row in part) == list(range(len(ids)))
    assert [[row for row in part if row < len(ids)] for part in after] == list(before)


def test_a_fifth_is_held_out() -> None:
    parts = split([f"q{n}" for n in range(5000)], 0)
    assert [round(len(part) / 5000, 1) for part in parts] == [0.7, 0.1, 0.2]
