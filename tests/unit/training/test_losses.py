"""Losses: their values where these are known, and EMDR2's gradient as its paper writes it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.errors import UsageError
from wbrag.training.losses import LOSSES, loss

LOGITS = torch.tensor([[2.0, 0.5, -1.0, -math.inf]])
TEACHER = torch.log(torch.tensor([[0.1, 0.7, 0.2, 0.0]]))


def test_emdr2_has_the_gradient_of_a_posterior() -> None:
    """dL/ds_d = p(d|x) - p(d|x,y)."""
    logits = LOGITS.clone().requires_grad_()
    loss("emdr2", 5)(logits, TEACHER).backward()
    prior = torch.softmax(LOGITS, 1)
    joint = prior * TEACHER.exp()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, prior - joint / joint.sum())


def test_perplexity_distillation_is_zero_at_its_teacher() -> None:
    assert float(loss("pdist", 5)(TEACHER, TEACHER)) == pytest.approx(0.0, abs=1e-6)
    assert float(loss("pdist", 5)(LOGITS, TEACHER)) > 0.1


def test_straight_through_is_hard_forwards_and_soft_backwards() -> None:
    logits = LOGITS.clone().requires_grad_()
    found = loss("st_topk", 2)(logits, TEACHER)
    assert float(found.detach()) == pytest.approx(-math.log((0.1 + 0.7) / 2))
    found.backward()
    assert logits.grad is not None and float(logits.grad[0, 1]) < 0 < float(logits.grad[0, 0])


rows = st.lists(st.tuples(st.floats(-20, 20), st.floats(0.01, 1)), min_size=2, max_size=6)


@given(rows, st.sampled_from(sorted(LOSSES)), st.integers(0, 3))
def test_padding_changes_nothing_and_every_gradient_is_a_number(
    found: list[tuple[float, float]], name: str, padded: int
) -> None:
    plain = torch.tensor([[logit for logit, _ in found]])
    weights = torch.tensor([[weight for _, weight in found]])
    taught = torch.log(weights / weights.sum())
    more = torch.full((1, padded), -math.inf)
    logits = torch.cat([plain, more], 1).requires_grad_()
    value = loss(name, 2)(logits, torch.cat([taught, more], 1))
    value.backward()
    torch.testing.assert_close(value.detach(), loss(name, 2)(plain, taught))
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(UsageError, match="pdist"):
        loss("pdits", 5)
