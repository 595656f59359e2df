"""FLARE: retrieves while writing, wherever the next sentence has an improbable token (Jiang et al., arXiv 2305.06983).

A look-ahead sentence is written without documents. If a token of it is at most `theta` likely, its confident part
(tokens above `beta`: the implicit query), or questions about its unsure parts (explicit), retrieve, and the sentence is
written again with what was found. Departures: the question joins the implicit query (without it an answer of one word
retrieves at random), there is no retrieval before the first sentence, and an answer is no longer than any other
method's (`max_answer_tokens`), so that a contained gold answer means the same. The preset `flashrag` is FlashRAG's
single threshold 0.2 with the sentence alone as the query.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wbrag.core.prompts import render
from wbrag.core.reading import read_answer
from wbrag.core.sections import FlareConfig
from wbrag.core.sentences import sentences
from wbrag.core.types import Answer, Completion, Hit
from wbrag.methods import Rag, naive

PRESETS = {"paper": (0.8, 0.4, True), "flashrag": (0.2, 0.2, False)}  # theta, beta, question in the query
QUESTION_TOKENS = 48


@dataclass(frozen=True)
class Sentence:
    """The first sentence of a completion, with its tokens and their probabilities."""

    text: str
    pieces: tuple[str, ...]
    probabilities: tuple[float, ...]
    whole: bool  # the model had nothing more to say


async def answer(question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> Answer:
    """Write sentence by sentence; given documents stand in for what a query would bring."""
    if documents is not None and not documents:
        return await naive.answer(question, rag, [])
    settings = rag.settings.flare
    theta, beta, joined = _thresholds(settings)
    written, hits, rounds, left = "", list[Hit](), 0, rag.sampling.max_tokens
    for _ in range(settings.max_rounds):
        writing = replace(rag, sampling=replace(rag.sampling, max_tokens=min(settings.look_ahead_tokens, left)))
        sentence = first_sentence(await writing.read(question, [], written=written, logprobs=1))
        if sentence.text and min(sentence.probabilities, default=1.0) <= theta:
            queries = await _queries(question, sentence, rag, beta, joined)
            if found := await _search(rag, queries, documents):
                hits, rounds = found, rounds + 1
                sentence = first_sentence(await writing.read(question, hits, written=written, logprobs=1))
        if not sentence.text:
            break
        written, left = f"{written} {sentence.text}".strip(), left - len(sentence.pieces)
        if sentence.whole or left <= 0:
            break
    return Answer(read_answer(written, one_sentence=False), tuple(hits), details={"retrieval_rounds": float(rounds)})


def first_sentence(completion: Completion) -> Sentence:
    """Cut a look-ahead after its first sentence; tokens that reach beyond it are left out."""
    spans = sentences(completion.text)
    if not spans:
        return Sentence("", (), (), True)
    start, end = spans[0]
    kept, length = 0, 0
    for piece in completion.pieces:
        if length >= end:
            break
        kept, length = kept + 1, length + len(piece)
    probabilities = tuple(math.exp(logprob) for logprob in completion.logprobs[:kept])
    whole = len(spans) == 1 and completion.finish_reason != "length"
    return Sentence(completion.text[start:end], completion.pieces[:kept], probabilities, whole)


async def _queries(question: str, sentence: Sentence, rag: Rag, beta: float, joined: bool) -> list[str]:
    if rag.settings.flare.query == "implicit":
        sure = "".join(p for p, likely in zip(sentence.pieces, sentence.probabilities) if likely > beta)
        query = " ".join(f"{question if joined else ''} {sure}".split())
        return [query] if query else []
    prompts = [
        render("flare.question", rag.prompts_dir, question=question, sentence=sentence.text, span=span)
        for span in unsure_spans(sentence, beta)
    ]
    sampling = replace(rag.sampling, max_tokens=QUESTION_TOKENS)
    asked = await asyncio.gather(*(rag.generator.generate(prompt, sampling) for prompt in prompts))
    return [text for reply in asked if (text := read_answer(reply.text))] or [question]


def unsure_spans(sentence: Sentence, beta: float) -> list[str]:
    """Runs of tokens that are at most `beta` likely, as text."""
    spans, run = list[str](), ""
    for piece, likely in zip(sentence.pieces, sentence.probabilities):
        if likely <= beta:
            run += piece
        elif run:
            spans, run = [*spans, run], ""
    return [text for span in [*spans, run] if (text := span.strip())]


async def _search(rag: Rag, queries: Sequence[str], documents: Sequence[Hit] | None) -> list[Hit]:
    """The best k over all queries, each passage once."""
    if not queries or documents is not None:
        return list(documents or []) if queries else []
    found = await rag.retriever.search(queries, rag.top_k)
    best: dict[str, Hit] = {}
    for hit in (hit for hits in found for hit in hits):
        if hit.id not in best or hit.score > best[hit.id].score:
            best[hit.id] = hit
    return sorted(best.values(), key=lambda hit: (-hit.score, hit.id))[: rag.top_k]


def _thresholds(settings: FlareConfig) -> tuple[float, float, bool]:
    theta, beta, joined = PRESETS[settings.preset]
    return (
        theta if settings.theta is None else settings.theta,
        beta if settings.beta is None else settings.beta,
        joined if settings.question_in_query is None else settings.question_in_query,
    )
