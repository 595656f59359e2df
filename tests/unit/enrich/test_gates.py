"""The gates on their exact boundaries: every threshold is strict."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wbrag.enrich.gates import document_gate, utility_gate, utility_gate_is_out_of_reach

unit = st.floats(0, 1)
threshold = st.floats(-0.5, 1.5)


def test_tau_delta_is_strict() -> None:  # powers of two, so that the differences are exact
    assert not utility_gate(0.25, 0.5, tau_s=0.0, tau_delta=0.25)
    assert utility_gate(0.25, 0.5 + 2**-30, tau_s=0.0, tau_delta=0.25)
    assert not utility_gate(0.5, 0.5, tau_s=0.0, tau_delta=0.0)


def test_tau_s_is_strict() -> None:
    assert not utility_gate(0.0, 0.5, tau_s=0.5, tau_delta=0.0)
    assert utility_gate(0.0, 0.5 + 2**-30, tau_s=0.5, tau_delta=0.0)
    assert not utility_gate(0.0, 1.0, tau_s=1.0, tau_delta=0.0)


def test_tau_doc_is_strict() -> None:
    ranks, fallback = document_gate(0.25, [0.5, 0.5 + 2**-30, 0.0, 1.0], tau_doc=0.25, n_min=2)
    assert (ranks, fallback) == ([1, 3], False)


def test_the_papers_thresholds() -> None:
    paper = {"tau_s": 0.10, "tau_delta": 0.01}
    assert utility_gate(0.0, 1.0, **paper)
    assert not utility_gate(1.0, 1.0, **paper)
    assert not utility_gate(0.0, 0.10, **paper)
    assert utility_gate(0.5, 0.52, **paper)
    assert utility_gate_is_out_of_reach(1.0, **paper)
    assert utility_gate_is_out_of_reach(0.995, **paper)
    assert not utility_gate_is_out_of_reach(0.98, **paper)


def test_fallback_keeps_the_first_n_min() -> None:
    assert document_gate(1.0, [1.0, 0.0, 1.0], tau_doc=0.01, n_min=2) == ([0, 1], True)
    assert document_gate(0.0, [0.0], tau_doc=0.01, n_min=2) == ([0], True)
    assert document_gate(0.0, [], tau_doc=0.01, n_min=2) == ([], True)


def test_one_document_that_passes_is_enough() -> None:
    assert document_gate(0.0, [0.0, 0.0, 1.0], tau_doc=0.01, n_min=2) == ([2], False)
    assert document_gate(0.0, [1.0] * 5, tau_doc=0.01, n_min=2) == ([0, 1, 2, 3, 4], False)


@settings(max_examples=100, deadline=None)
@given(unit, unit, threshold, threshold)
def test_out_of_reach_means_that_nothing_passes(s_nr: float, s_rag: float, tau_s: float, tau_delta: float) -> None:
    if utility_gate_is_out_of_reach(s_nr, tau_s=tau_s, tau_delta=tau_delta):
        assert not utility_gate(s_nr, s_rag, tau_s=tau_s, tau_delta=tau_delta)
    else:
        assert utility_gate(s_nr, 1.0, tau_s=tau_s, tau_delta=tau_delta)


@settings(max_examples=100, deadline=None)
@given(unit, st.lists(unit, max_size=6), threshold, st.integers(1, 6))
def test_document_gate_properties(s_nr: float, s_doc: list[float], tau_doc: float, n_min: int) -> None:
    ranks, fallback = document_gate(s_nr, s_doc, tau_doc=tau_doc, n_min=n_min)
    passing = [rank for rank in range(len(s_doc)) if s_doc[rank] - s_nr > tau_doc]
    assert fallback == (not passing)
    assert ranks == (passing or list(range(min(n_min, len(s_doc)))))
