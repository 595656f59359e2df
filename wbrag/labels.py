"""Closed questions to a model: how the first token's probability is divided among a few labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from wbrag.prompts import render
from wbrag.types import Generator, Sampling

SHOWN = 20  # log-probabilities asked for; vLLM's default limit


async def label_shares(
    generator: Generator, prompt: str, labels: Sequence[str], prompts_dir: str | None = None, /, **values: str
) -> list[float]:
    """Ask with the template `prompt`; the shares of `labels` in the first token, summing to 1."""
    messages = render(prompt, prompts_dir, **values)
    reply = await generator.generate(messages, Sampling(max_tokens=1, logprobs=SHOWN))
    return shares(reply.top_logprobs[0] if reply.top_logprobs else {}, labels)


def shares(top: Mapping[str, float], labels: Sequence[str]) -> list[float]:
    """How the probability that falls on `labels` is divided; equal where none of them is among the shown tokens.

    A token counts for the label that it begins, whatever its case and the space before it.
    """
    mass = [0.0] * len(labels)
    for token, logprob in top.items():
        begun = token.strip().lower()
        for i, label in enumerate(labels):
            if begun and label.lower().startswith(begun):
                mass[i] += math.exp(logprob)
                break
    return [m / sum(mass) for m in mass] if sum(mass) else [1.0 / len(labels)] * len(labels)
