"""RePlug: one context a document, their next-token probabilities mixed (Shi et al., arXiv 2301.12652, eq. 2).

    p(y_t) = sum_d lambda_d p(y_t | d, q, y_<t),   lambda = softmax(similarity / temperature)   [k documents]

Greedy. Departures: the original's temperature is 1, which is nearly uniform on normalised vectors; FlashRAG mixes
logits by score / sum, the original (and this) probabilities. The engine shows each distribution's likeliest tokens
only; what the hidden tail could change is bounded in every step (`mix`) and reported: `tail` is the mixture's mean
hidden mass, `unsure` the number of steps in which a hidden token or a hidden share could have won.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import softmax

from wbrag.core.reading import read_answer
from wbrag.core.types import Answer, Hit, NextToken
from wbrag.methods import Rag, naive


async def answer(question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> Answer:
    """The mixture's greedy answer over `documents`, or the retriever's top k; closed book where there are none."""
    hits = await rag.retrieve(question, documents)
    if not hits:
        return await naive.answer(question, rag, [])
    weights = softmax([hit.score / rag.settings.replug.temperature for hit in hits]).tolist()
    by_level = _by_token if rag.settings.replug.level == "token" else _by_sequence
    return await by_level(question, rag, hits, weights)


class Step(NamedTuple):
    """The mixture's best token, its probability from below, the hidden mass, and whether nothing hidden could win."""

    token: NextToken
    probability: float
    tail: float
    certain: bool


def mix(weights: Sequence[float], streams: Sequence[Sequence[NextToken]]) -> Step:
    """One step of eq. 2 over top-k distributions, a stream per document, each likeliest first.

    A token that a stream hides has there at most the probability of its last shown token, and at most its whole tail.
    """
    shown = [{t.id: math.exp(t.logprob) for t in stream} for stream in streams]
    tails = [max(0.0, 1.0 - sum(p.values())) for p in shown]
    hidden = [w * min(tail, min(p.values())) for w, p, tail in zip(weights, shown, tails)]
    tokens = {t.id: t for stream in streams for t in stream}
    low = {id: sum(w * p.get(id, 0.0) for w, p in zip(weights, shown)) for id in tokens}
    best = min(tokens, key=lambda id: (-low[id], id))
    rivals = [low[id] + sum(h for h, p in zip(hidden, shown) if id not in p) for id in tokens if id != best]
    certain = low[best] >= max([*rivals, sum(hidden)])
    return Step(tokens[best], low[best], sum(w * tail for w, tail in zip(weights, tails)), certain)


async def _by_token(question: str, rag: Rag, hits: list[Hit], weights: list[float]) -> Answer:
    prompts = [rag.task.messages(question, [hit], rag.prompts_dir) for hit in hits]
    top, ids, steps = rag.settings.replug.top_logprobs, list[int](), list[Step]()
    for _ in range(rag.sampling.max_tokens):
        streams = await asyncio.gather(*(rag.generator.next_tokens(prompt, ids, top) for prompt in prompts))
        steps.append(mix(weights, [stream.tokens for stream in streams]))
        if steps[-1].token.end:
            break
        ids.append(steps[-1].token.id)
    details = {
        "tail": sum(step.tail for step in steps) / len(steps),
        "unsure": float(sum(not step.certain for step in steps)),
    }
    return Answer(read_answer(await rag.generator.decode(ids)), tuple(hits), details=details)


async def _by_sequence(question: str, rag: Rag, hits: list[Hit], weights: list[float]) -> Answer:
    """argmax_a sum_d lambda_d p(a | d, q) over the documents' own greedy answers: needs scores, not single tokens.

    The end of the answer is not scored, so that of two candidates with one beginning the shorter is preferred.
    """
    replies = await asyncio.gather(*(rag.read(question, [hit]) for hit in hits))
    candidates = list(dict.fromkeys(read_answer(reply.text) for reply in replies))
    prompts = [rag.task.messages(question, [hit], rag.prompts_dir) for hit in hits]

    async def mixture(candidate: str) -> float:
        scores = await asyncio.gather(*(rag.generator.score(prompt, candidate) for prompt in prompts))
        return sum(weight * math.exp(score.logprob) for weight, score in zip(weights, scores))

    found = await asyncio.gather(*(mixture(candidate) for candidate in candidates if candidate))
    named = [candidate for candidate in candidates if candidate]
    best = named[max(range(len(named)), key=found.__getitem__)] if named else ""
    return Answer(best, tuple(hits), details={"candidates": float(len(candidates))})
