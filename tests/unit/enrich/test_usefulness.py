"""Labels of usefulness: which candidates are asked about, what is recorded, and what it costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import TableRetriever
from tests.support.scripted import ScriptedGenerator
from tests.support.worlds import HITS, QUESTION, RIGHT, WRONG, World, run
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task
from wbrag.core.types import Example, Hit
from wbrag.enrich.enrich import Known
from wbrag.enrich.rows import VERDICTS, verdict_of, verdict_row
from wbrag.enrich.usefulness import Candidate, Usefulness, drawn, held_again, holds, usefulness
from wbrag.methods import Rag


def looked(example: Example, hits: list[Hit], name: str = "qa", **options: Any) -> tuple[Usefulness, ScriptedGenerator]:
    generator = ScriptedGenerator(World().reply, scorer=World().logprob)
    rag = Rag(generator, TableRetriever({example.question: hits}), task(name))
    return asyncio.run(usefulness(rag, example, EnrichConfig(**options))), generator


def test_every_document_alone_and_none() -> None:
    found, generator = looked(Example("e", QUESTION, ("a red kite", RIGHT)), HITS, candidates=3)
    assert found.logprob_nr == -4.0, "nats a token: of the shortest gold answer, which has two"
    assert [c.logprob for c in found.candidates] == [-0.5, -1.0, -1.5]
    assert [(c.id, c.score) for c in found.candidates] == [("p0", 0.9), ("p1", 0.8), ("p2", 0.7)]
    assert found.calls == len(generator.calls) == 4
    assert {call.continuation for call in generator.calls} == {RIGHT}


def test_deeper_ones_are_drawn_and_all_are_named() -> None:
    found, generator = looked(Example("e", QUESTION, (RIGHT,)), HITS, candidates=2, candidate_depth=5)
    asked = [rank for rank, c in enumerate(found.candidates) if c.logprob is not None]
    assert len(found.candidates) == 5
    assert asked[0] == 0 and len(asked) == 2
    assert len(generator.calls) == 3


def test_depth_alone_asks_nobody() -> None:
    found, generator = looked(Example("e", QUESTION, (RIGHT,)), HITS, candidate_depth=4)
    assert [c.logprob for c in found.candidates] == [None] * 4
    assert (found.logprob_nr, found.calls, generator.calls) == (None, 0, [])


def test_questions_without_an_answer_and_without_a_hit() -> None:
    found, generator = looked(Example("e", QUESTION, ()), HITS, candidates=2)
    assert [c.logprob for c in found.candidates] == [None, None] and not generator.calls
    found, _ = looked(Example("e", "another question", (RIGHT,)), [], candidates=2)
    assert (found.candidates, found.calls) == ((), 1)


@given(st.integers(0, 300), st.integers(1, 200), st.text(max_size=8))
def test_the_drawn_are_distinct_ranks_from_the_top_down(found: int, wanted: int, key: str) -> None:
    ranks = drawn(found, wanted, key)
    assert ranks == sorted(set(ranks)) == drawn(found, wanted, key)
    assert len(ranks) == min(found, wanted)
    assert ranks[: (wanted + 1) // 2] == list(range(min(found, (wanted + 1) // 2)))
    assert all(0 <= rank < found for rank in ranks)


def test_draws_differ_between_examples_and_reach_the_bottom() -> None:
    draws = [drawn(50, 10, f"e{n}") for n in range(200)]
    assert {rank for ranks in draws for rank in ranks} == set(range(50))


BIRD = Hit("p7#2", "Kites", "The red kite soars.", 0.5)


@pytest.mark.parametrize(
    ("gold", "answers", "closed", "expected"),
    [
        (["p7#2"], ["owl"], False, True),
        (["p7"], ["owl"], False, True),
        (["p70"], ["red kite"], False, False),
        (None, ["Red Kite."], False, True),
        (None, ["owl"], False, False),
        (None, ["True"], True, None),
        (["p7"], ["True"], True, True),
        (None, [], False, None),
        ("p7#2", ["owl"], False, False),
    ],
)
def test_what_holds_the_answer(gold: Any, answers: list[str], closed: bool, expected: bool | None) -> None:
    example = Example("e", QUESTION, tuple(answers), metadata={"gold": gold} if gold else {})
    assert holds(example, BIRD, closed=closed) is expected


def test_it_changes_nothing_of_algorithm_1() -> None:
    plain, _ = run(World())
    verdict, generator = run(World(), candidates=4)
    assert verdict.usefulness is not None and verdict.usefulness.calls == 5
    assert verdict.calls == len(generator.calls) == plain.calls + 5
    assert verdict.step_calls == plain.step_calls
    assert (verdict.reason, verdict.s_doc, verdict.unit) == (plain.reason, plain.s_doc, plain.unit)


def test_an_example_that_the_model_knows_is_labelled_too() -> None:
    verdict, _ = run(World(closed=RIGHT), candidates=2)
    assert (verdict.reason, verdict.hit_ids) == ("closed book suffices", ())
    assert verdict.usefulness is not None and len(verdict.usefulness.candidates) == 2


def test_what_is_known_is_not_asked_again() -> None:
    first, _ = run(World(opened=WRONG), candidates=3)
    again, generator = run(World(opened=WRONG), candidates=3, known=Known(first, tuple(HITS), (), first.usefulness))
    assert not generator.calls
    assert (again.usefulness, again.calls, again.reused_calls) == (first.usefulness, 0, first.calls)


def test_gold_passages_that_are_named_later_count() -> None:
    found, _ = looked(Example("e", QUESTION, ("owl",)), HITS, candidate_depth=3)
    assert [c.holds for c in found.candidates] == [False, False, False]
    assert held_again(found, Example("e", QUESTION, ("owl",))) == found
    named = held_again(found, Example("e", QUESTION, ("owl",), metadata={"gold": ["p1"]}))
    assert [c.holds for c in named.candidates] == [False, True, False]


def test_it_survives_its_row_and_older_rows_have_none() -> None:
    verdict, _ = run(World(), candidates=2, candidate_depth=3)
    row = verdict_row(verdict)
    assert verdict_of(row) == verdict
    assert Candidate(**row["usefulness"]["candidates"][0]) == verdict.usefulness.candidates[0]  # type: ignore[union-attr]
    assert (
        verdict_of({name: row[name] for name in VERDICTS.names if name in row and name != "usefulness"}).usefulness
        is None
    )
