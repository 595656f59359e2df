"""Every question has one cause, which follows from its two answers and from where the answer was found."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.types import Example
from wbrag.enrich.enrich import Verdict
from wbrag.enrich.usefulness import Candidate, Usefulness
from wbrag.evaluation.diagnosis.causes import CAUSES, cause_of, distracting

TOP_K = 3


def verdict(s_nr: float, s_rag: float | None, found: list[Candidate], logprob_nr: float | None = None) -> Verdict:
    usefulness = Usefulness(tuple(found), logprob_nr)
    return Verdict("e", "q", "qa", False, "", s_nr=s_nr, s_rag=s_rag, usefulness=usefulness)


def at(rank: int | None, held: bool | None = True, of: int = 5) -> list[Candidate]:
    return [Candidate(f"p{n}", 0.9 - n / 100, held if n == rank else False) for n in range(of)]


EXAMPLE = Example("e", "q", ("red kite",))


@pytest.mark.parametrize(
    ("s_nr", "s_rag", "rank", "cause"),
    [
        (1.0, 1.0, 0, "known"),
        (1.0, 1.0, None, "known"),
        (1.0, 0.0, 0, "distracted"),
        (0.5, 0.4, None, "distracted"),
        (0.0, 1.0, 4, "helped"),
        (0.0, 1.0, None, "helped"),
        (0.0, 0.0, 2, "unused"),
        (0.0, 0.0, 3, "ranking"),
        (0.0, 0.0, None, "missing"),
    ],
)
def test_two_answers_and_a_rank(s_nr: float, s_rag: float, rank: int | None, cause: str) -> None:
    assert cause_of(verdict(s_nr, s_rag, at(rank)), EXAMPLE, frozenset(), TOP_K) == (cause, rank)


@pytest.mark.parametrize(
    ("corpus", "cause"), [({"g"}, "deep"), ({"g#0"}, "deep"), (set(), "missing"), ({"gg"}, "missing")]
)
def test_a_gold_passage_that_is_there_but_was_not_found(corpus: set[str], cause: str) -> None:
    example = Example("e", "q", ("red kite",), metadata={"gold": ["g"]})
    assert cause_of(verdict(0.0, 0.0, at(None)), example, frozenset(corpus), TOP_K) == (cause, None)


@pytest.mark.parametrize(
    ("logprob", "logprob_nr", "cause"),
    [
        (math.log(0.9), math.log(0.4), "unused"),
        (math.log(0.4), math.log(0.1), "unclear"),
        (math.log(0.6), math.log(0.7), "unclear"),
        (math.nan, math.log(0.1), "unclear"),
        (None, None, "unclear"),
    ],
)
def test_a_label_is_held_by_what_alone_makes_it_likely(
    logprob: float | None, logprob_nr: float | None, cause: str
) -> None:
    found = [Candidate("a", 0.9), Candidate("b", 0.8, None, logprob)]
    example = Example("e", "q", ("True",), task="boolq")
    assert cause_of(verdict(0.0, 0.0, found, logprob_nr), example, frozenset(), TOP_K)[0] == cause


def test_documents_that_harm_are_counted_among_those_in_the_top() -> None:
    found = [Candidate("a", 0.9, True, -1.0), Candidate("b", 0.8, None, -3.0), Candidate("c", 0.7)]
    found += [Candidate("d", 0.6, None, -9.0)]
    assert distracting(verdict(0.0, 0.0, found, -2.0), TOP_K) == (1, 2)
    assert distracting(verdict(0.0, 0.0, found, None), TOP_K) == (0, 0)
    assert distracting(Verdict("e", "q", "qa", False, ""), TOP_K) == (0, 0)


candidates = st.lists(
    st.builds(
        Candidate,
        st.sampled_from(["a", "b", "g", "h#2"]),
        st.floats(-1, 1),
        st.sampled_from([True, False, None]),
        st.none() | st.floats(-20, 0) | st.just(math.nan),
    ),
    max_size=6,
)
scores = st.sampled_from([0.0, 0.3, 0.5, 1.0])


@given(scores, st.none() | scores, candidates, st.none() | st.floats(-20, 0), st.sampled_from([{}, {"gold": ["g"]}]))
def test_there_is_always_one(
    s_nr: float, s_rag: float | None, found: list[Candidate], nr: float | None, metadata: dict[str, Any]
) -> None:
    name, rank = cause_of(verdict(s_nr, s_rag, found, nr), Example("e", "q", ("x",), metadata=metadata), {"g"}, TOP_K)
    assert CAUSES[name].right is ((s_rag or 0.0) >= 0.5)
    assert rank is None or 0 <= rank < len(found)
    assert (name in ("unused", "ranking")) <= (rank is not None)
