"""Self-RAG: retrieve on demand, answer from each passage alone, keep the best critique (Asai et al., arXiv 2310.11511).

    score_d = exp(mean log p(answer)) + w_rel P(relevant) + w_sup (P(fully) + P(partially) / 2) + w_use sum_i u_i P(i)

with u = (-1, -0.5, 0, 0.5, 1) over utility 1 to 5, each P a share among its group's labels. Retrieval where the share
of "retrieve" is above `threshold`. Closed label sets (BoolQ, FEVER) sum the scores of equal answers. A model with
Self-RAG's reflection tokens writes them itself; any other is asked the four questions, and the first token's
probabilities are read (a departure, as in every use of the method without its fine-tuned model). As in FlashRAG,
probabilities are exponentiated before they are divided, and a label beyond the shown tokens counts as impossible.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from wbrag.core.normalise import normalise
from wbrag.core.prompts import render
from wbrag.core.reading import read_answer
from wbrag.core.sections import SelfRagConfig
from wbrag.core.tasks import reference
from wbrag.core.types import Answer, Completion, Hit
from wbrag.generators.logprobs import TOP_LOGPROBS, label_shares
from wbrag.methods import Rag, naive

NEED = ("[Retrieval]", "[No Retrieval]")
RELEVANT = ("[Relevant]", "[Irrelevant]")
SUPPORT = ("[Fully supported]", "[Partially supported]", "[No support / Contradictory]")
UTILITY = ("[Utility:1]", "[Utility:2]", "[Utility:3]", "[Utility:4]", "[Utility:5]")
TOKENS = NEED + RELEVANT + SUPPORT + UTILITY
UTILITY_WEIGHTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
MAX_REFLECTION_TOKENS = 8  # tokens that reflection adds to an answer


@dataclass(frozen=True)
class Critique:
    """An answer from one passage and its score."""

    text: str
    score: float
    hit: Hit


async def answer(question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> Answer:
    """The best passage's answer; `hits` is empty where the model needs no passage. Given documents are always read."""
    own_tokens = await rag.generator.knows(TOKENS)
    if documents is not None and not documents:
        return await (_without_retrieval(question, rag) if own_tokens else naive.answer(question, rag, []))
    if documents is None and not await (_needs_token if own_tokens else _needs)(question, rag):
        return await _without_retrieval(question, rag) if own_tokens else await naive.answer(question, rag, [])
    hits = await rag.retrieve(question, documents)
    if not hits:
        return await naive.answer(question, rag, [])
    critique = _critique_tokens if own_tokens else _critique
    found = await asyncio.gather(*(critique(question, rag, hit) for hit in hits))
    best = max(found, key=lambda c: c.score)
    if rag.task.closed:
        totals: dict[str, float] = defaultdict(float)
        for c in found:
            totals[normalise(c.text)] += c.score
        best = next(c for c in found if normalise(c.text) == max(totals, key=totals.__getitem__))
    return Answer(best.text, tuple(hits), details={"score": best.score, "rank": float(hits.index(best.hit) + 1)})


def score(
    confidence: float, relevant: float, support: Sequence[float], utility: Sequence[float], w: SelfRagConfig
) -> float:
    """The formula above; `confidence` is the answer's mean token probability, `support` and `utility` are shares."""
    useful = sum(weight * share for weight, share in zip(UTILITY_WEIGHTS, utility))
    return confidence + w.w_rel * relevant + w.w_sup * (support[0] + 0.5 * support[1]) + w.w_use * useful


# -- a model that is asked -----------------------------------------------------------------------------------------


async def _needs(question: str, rag: Rag) -> bool:
    yes, _ = await label_shares(rag.generator, "selfrag.need", ("yes", "no"), rag.prompts_dir, question=question)
    return yes > rag.settings.selfrag.threshold


async def _critique(question: str, rag: Rag, hit: Hit) -> Critique:
    ask, block = partial(_ask, rag), reference([hit])
    reply, relevant = await asyncio.gather(
        rag.read(question, [hit], logprobs=1),
        ask("relevant", ("yes", "no"), question=question, documents=block),
    )
    text = read_answer(reply.text)
    supported, useful = await asyncio.gather(
        ask("supported", ("fully", "partially", "no"), question=question, documents=block, answer=text),
        ask("useful", ("1", "2", "3", "4", "5"), question=question, answer=text),
    )
    total = score(_confidence(reply.logprobs), relevant[0], supported, useful, rag.settings.selfrag)
    return Critique(text, total, hit)


async def _ask(rag: Rag, prompt: str, labels: Sequence[str], **values: str) -> list[float]:
    return await label_shares(rag.generator, f"selfrag.{prompt}", labels, rag.prompts_dir, **values)


# -- a model with reflection tokens --------------------------------------------------------------------------------


def _instruction(question: str, rag: Rag) -> str:
    """The original's prompt; as there, a closed set of labels is explained before the question."""
    explained = render(f"{rag.task.name}.closed", rag.prompts_dir, question=question)[0].content
    asked = f"{explained}\n\n## Input:\n\n{question}" if rag.task.closed else question
    return f"### Instruction:\n{asked}\n\n### Response:\n"


async def _needs_token(question: str, rag: Rag) -> bool:
    sampling = replace(rag.sampling, max_tokens=1, logprobs=TOP_LOGPROBS)
    reply = await rag.generator.generate(_instruction(question, rag), sampling)
    return _token_shares(reply.top_logprobs[:1], NEED)[0] > rag.settings.selfrag.threshold


async def _without_retrieval(question: str, rag: Rag) -> Answer:
    reply = await rag.generator.generate(_instruction(question, rag) + NEED[1], rag.sampling)
    return Answer(read_answer(_strip_tokens(reply.text)))


async def _critique_tokens(question: str, rag: Rag, hit: Hit) -> Critique:
    prompt = f"{_instruction(question, rag)}{NEED[0]}<paragraph>{hit.title}\n{hit.text}</paragraph>"
    sampling = replace(rag.sampling, max_tokens=rag.sampling.max_tokens + MAX_REFLECTION_TOKENS, logprobs=TOP_LOGPROBS)
    reply = await rag.generator.generate(prompt, sampling)
    total = score(
        _confidence(reply.logprobs),
        _token_shares(reply.top_logprobs[:1], RELEVANT)[0],
        _token_shares(_distribution_at(reply, SUPPORT), SUPPORT),
        _token_shares(_distribution_at(reply, UTILITY), UTILITY),
        rag.settings.selfrag,
    )
    return Critique(read_answer(_strip_tokens("".join(reply.pieces) or reply.text)), total, hit)


def _distribution_at(reply: Completion, group: Sequence[str]) -> Sequence[Mapping[str, float]]:
    """The distribution at the first token of `group` that the model wrote; empty where it wrote none."""
    at = next((i for i, piece in enumerate(reply.pieces) if piece.strip() in group), None)
    return [] if at is None else [reply.top_logprobs[at]]


def _token_shares(tops: Sequence[Mapping[str, float]], group: Sequence[str]) -> list[float]:
    """Shares among reflection tokens; all zero where the model did not speak of the group, as in the original."""
    shown = {token.strip(): math.exp(logprob) for token, logprob in (tops[0] if tops else {}).items()}
    mass = [shown.get(token, 0.0) for token in group]
    return [m / sum(mass) for m in mass] if sum(mass) else [0.0] * len(group)


def _strip_tokens(text: str) -> str:
    for token in (*TOKENS, "[Continue to Use Evidence]", "<paragraph>", "</paragraph>", "</s>"):
        text = text.replace(token, "")
    return text


def _confidence(logprobs: Sequence[float]) -> float:
    """exp of the mean log-probability: the geometric mean token probability; 0 for an empty answer."""
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else 0.0
