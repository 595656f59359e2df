"""Utility gate and document gate (paper eqs. 7 to 9): which examples retrieval helped, and which documents did it.

Pure functions of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Retained(NamedTuple):
    """Ranks (0-based) of the kept documents, and whether they are the fallback because none passed."""

    ranks: list[int]
    fallback: bool


def utility_gate(s_nr: float, s_rag: float, *, tau_s: float, tau_delta: float) -> bool:
    """Equation 7: retrieval helped by more than `tau_delta`, and the answer with it beats `tau_s` (both strict)."""
    return s_rag - s_nr > tau_delta and s_rag > tau_s


def utility_gate_is_out_of_reach(s_nr: float, *, tau_s: float, tau_delta: float, best: float = 1.0) -> bool:
    """True if not even a perfect answer with retrieval (`best`) could pass: the verdict is known without a call."""
    return not utility_gate(s_nr, best, tau_s=tau_s, tau_delta=tau_delta)


def document_gate(s_nr: float, s_doc: Sequence[float], *, tau_doc: float, n_min: int) -> Retained:
    """Equations 8 and 9: documents that alone beat the closed book by more than `tau_doc`; else the top `n_min`."""
    ranks = [rank for rank, score in enumerate(s_doc) if score - s_nr > tau_doc]
    return Retained(ranks, False) if ranks else Retained(list(range(min(n_min, len(s_doc)))), True)
