"""Label probabilities: how the first token's probability is divided among a closed set of labels.

Shares add up to 1. Where no label is among the tokens shown they are equal, or all `unknown`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from wbrag.core.prompts import render
from wbrag.core.types import Generator, Sampling

TOP_LOGPROBS = 20  # log-probabilities asked for; vLLM's default limit


async def label_shares(
    generator: Generator,
    prompt: str,
    labels: Sequence[str],
    prompts_dir: str | None = None,
    unknown: float | None = None,
    /,
    **values: str,
) -> list[float]:
    """Ask with the template `prompt`; the `shares` of `labels` in the first token."""
    messages = render(prompt, prompts_dir, **values)
    reply = await generator.generate(messages, Sampling(max_tokens=1, logprobs=TOP_LOGPROBS))
    return shares(reply.top_logprobs[0] if reply.top_logprobs else {}, labels, unknown)


def shares(top: Mapping[str, float], labels: Sequence[str], unknown: float | None = None) -> list[float]:
    """How the probability that falls on `labels` is divided; equal, or `unknown`, where none of them is shown.

    A token counts for the label that it begins, whatever its case and the space before it.
    """
    mass = [0.0] * len(labels)
    for token, logprob in top.items():
        begun = token.strip().lower()
        for i, label in enumerate(labels):
            if begun and label.lower().startswith(begun):
                mass[i] += math.exp(logprob)
                break
    if not sum(mass):
        return [1.0 / len(labels) if unknown is None else unknown] * len(labels)
    return [m / sum(mass) for m in mass]
