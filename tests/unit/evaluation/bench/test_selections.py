"""Thresholds over stored scores choose exactly what an enrichment at those thresholds would have chosen."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.sections import EnrichConfig
from wbrag.core.types import Example
from wbrag.enrich.gates import document_gate, utility_gate
from wbrag.evaluation.bench.selections import at_random, gated, nested, rescored

score = st.sampled_from([0.0, 0.05, 0.1, 0.11, 0.5, 1.0])


def row(number: int, s_nr: float, s_rag: float, s_doc: list[float]) -> dict[str, Any]:
    ids = [f"p{rank}" for rank in range(len(s_doc))]
    return {"id": f"q{number}", "error": "", "s_nr": s_nr, "s_rag": s_rag, "s_doc": s_doc, "hit_ids": ids}


rows = st.lists(st.tuples(score, score, st.lists(score, min_size=1, max_size=5)), max_size=8).map(
    lambda found: [row(i, *scores) for i, scores in enumerate(found)]
)


@given(rows, score, score, score, st.integers(1, 5))
def test_a_sweep_is_algorithm_1_at_other_thresholds(
    found: list[dict[str, Any]], tau_s: float, tau_delta: float, tau_doc: float, n_min: int
) -> None:
    gate = EnrichConfig(tau_s=tau_s, tau_delta=tau_delta, tau_doc=tau_doc, n_min=n_min)
    chosen = gated(found, gate)
    for r in found:
        passed = utility_gate(r["s_nr"], r["s_rag"], tau_s=tau_s, tau_delta=tau_delta)
        assert (r["id"] in chosen) == passed
        if passed:
            ranks = document_gate(r["s_nr"], r["s_doc"], tau_doc=tau_doc, n_min=n_min).ranks
            assert chosen[r["id"]] == tuple(r["hit_ids"][rank] for rank in ranks)
    assert gated(found, gate, document=False) == {q: tuple(found[int(q[1:])]["hit_ids"]) for q in chosen}
    assert set(gated(found, gate, utility=False)) == {r["id"] for r in found}


@given(rows, st.floats(0.01, 1), st.floats(0.01, 1))
def test_smaller_training_sets_are_part_of_larger_ones(found: list[dict[str, Any]], a: float, b: float) -> None:
    small, large = sorted((a, b))
    if found:
        assert {r["id"] for r in nested(found, small, 0)} <= {r["id"] for r in nested(found, large, 0)}
        assert len(nested(found, 1.0, 0)) == len(found)


def test_another_metric_reads_the_same_answers() -> None:
    kept = row(0, 0.0, 1.0, [1.0]) | {"closed_book": "kite", "open_book": "the red kite", "solo": ["a kite it is"]}
    [em] = rescored([kept], {"q0": Example("q0", "?", ("red kite",))}, "em")
    [f1] = rescored([kept], {"q0": Example("q0", "?", ("red kite",))}, "f1")
    assert (em["s_nr"], em["s_rag"], em["s_doc"]) == (0.0, 1.0, [0.0])
    assert f1["s_nr"] == 2 / 3 and 0 < f1["s_doc"][0] < 1


def test_random_documents_are_as_many_and_always_the_same() -> None:
    ids = [f"p{i}" for i in range(50)]
    chosen = {"q1": ("a", "b"), "q2": ("c",)}
    drawn = at_random(chosen, ids, "3")
    assert {q: len(d) for q, d in drawn.items()} == {"q1": 2, "q2": 1} and set(drawn["q1"]) <= set(ids)
    assert drawn == at_random(dict(reversed(chosen.items())), ids, "3") != at_random(chosen, ids, "4")
