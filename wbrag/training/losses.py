"""Losses that turn usefulness into a ranking: EMDR2, perplexity distillation, straight-through top-k.

All take `logits` [n, k'] (similarity over temperature, -inf where padded) and `teacher` [n, k'], log-weights of the
same candidates that sum to one. Sources: EMDR2 arXiv 2106.05346, perplexity distillation arXiv 2208.03299 (Atlas), the
straight-through estimator arXiv 2511.18659 (CLaRa), whose exact gradient over text is EMDR2's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from wbrag.core.errors import unknown

Loss = Callable[[Tensor, Tensor], Tensor]


def emdr2(logits: Tensor, teacher: Tensor) -> Tensor:
    """`-log sum_d p(d) exp(t_d)`: the likelihood of the answer with the document left out of sight."""
    return -torch.logsumexp(torch.log_softmax(logits, 1) + teacher, 1).mean()


def pdist(logits: Tensor, teacher: Tensor) -> Tensor:
    """`KL(teacher || p)`: the ranking itself is taught, not the best document alone."""
    student = torch.log_softmax(logits, 1)
    weight = teacher.exp()
    return torch.where(weight > 0, weight * (teacher - student), 0.0).sum(1).mean()


def st_topk(logits: Tensor, teacher: Tensor, k: int = 5) -> Tensor:
    """The same likelihood over the k that would be read: chosen hard, its gradient that of the soft choice."""
    soft = torch.softmax(logits, 1)
    chosen = logits.topk(min(k, logits.shape[1]), dim=1).indices
    hard = torch.zeros_like(soft).scatter(1, chosen, 1.0 / chosen.shape[1])
    weight = hard + soft - soft.detach()
    return -torch.log((weight * teacher.exp()).sum(1).clamp_min(1e-9)).mean()


LOSSES: dict[str, Loss] = {"pdist": pdist, "emdr2": emdr2, "st_topk": st_topk}


def loss(name: str, top_k: int) -> Loss:
    """The loss called `name`; `top_k` documents are read."""
    if name not in LOSSES:
        raise unknown("loss", name, list(LOSSES))
    return partial(st_topk, k=top_k) if name == "st_topk" else LOSSES[name]
