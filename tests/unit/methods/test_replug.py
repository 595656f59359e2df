"""RePlug's mixture against the full distributions, and the two levels over a scripted model."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from tests.support.fakes import TableRetriever
from tests.support.scripted import ScriptedGenerator
from wbrag.core.sections import MethodsConfig, ReplugConfig
from wbrag.core.tasks import task
from wbrag.core.types import Hit, Messages, NextToken, Sampling
from wbrag.methods import Rag, method
from wbrag.methods.replug import mix

HITS = [Hit("a", "A", "first", 0.9), Hit("b", "B", "second", 0.8), Hit("c", "C", "third", 0.8)]
rows = st.lists(st.integers(1, 50), min_size=8, max_size=8)


@given(st.lists(rows, min_size=1, max_size=5), st.integers(1, 8))
def test_a_certain_step_is_the_exact_argmax(counts: list[list[int]], top: int) -> None:
    """Whatever the hidden tail holds, `certain` steps choose what the full distributions choose."""
    weights = list(softmax([float(i) for i in range(len(counts))]))
    full = [[n / sum(row) for n in row] for row in counts]
    streams = [
        sorted((NextToken(i, str(i), math.log(p), False) for i, p in enumerate(row)), key=lambda t: -t.logprob)[:top]
        for row in full
    ]
    step = mix(weights, streams)
    exact = [sum(w * row[i] for w, row in zip(weights, full)) for i in range(8)]
    assert step.probability <= exact[step.token.id] + 1e-9
    hidden = [1 - sum(math.exp(t.logprob) for t in stream) for stream in streams]
    assert step.tail == pytest.approx(sum(w * h for w, h in zip(weights, hidden)), abs=1e-9)
    if step.certain:
        assert exact[step.token.id] == pytest.approx(max(exact))
    if top == 8:
        assert step.tail == pytest.approx(0, abs=1e-9) and exact[step.token.id] == pytest.approx(max(exact))


def test_equal_probabilities_go_to_the_smaller_id() -> None:
    streams = [[NextToken(7, "x", math.log(0.5), False), NextToken(3, "y", math.log(0.5), False)]]
    assert mix([1.0], streams).token.id == 3


def run(level: str, reply: object, **more: object) -> tuple[object, ScriptedGenerator]:
    generator = ScriptedGenerator(reply, **more)  # type: ignore[arg-type]
    settings = MethodsConfig(replug=ReplugConfig(level=level, temperature=1.0))  # type: ignore[arg-type]
    rag = Rag(generator, TableRetriever({"who?": HITS}), task("qa"), 3, settings=settings)
    return asyncio.run(method("replug")("who?", rag, None)), generator


def by_document(messages: Messages, sampling: Sampling) -> str:
    return "red owl" if "first" in messages[0].content else "blue owl"


def test_two_documents_outvote_the_first() -> None:
    found, generator = run("token", by_document)
    assert (found.text, found.hits, found.details) == ("blue owl", tuple(HITS), {"tail": 0.0, "unsure": 0.0})
    assert all(len([t for t in ("first", "second", "third") if t in c.prompt[0].content]) == 1 for c in generator.calls)
    assert found.cost.calls == len(generator.calls) == 3 * 3  # three documents; two words and the end
    assert found.cost.retrievals == 1


def test_whole_answers_are_scored_under_every_document() -> None:
    liked = {"first": {"red owl": -0.1, "blue owl": -9.0}, "second": {"red owl": -3.0, "blue owl": -0.2}}
    liked["third"] = liked["second"]

    def scorer(messages: Messages, continuation: str) -> float:
        return next(table[continuation] for text, table in liked.items() if text in messages[0].content)

    found, generator = run("sequence", by_document, scorer=scorer)
    assert (found.text, found.details) == ("blue owl", {"candidates": 2.0})
    asked = [call for call in generator.calls if call.continuation]
    assert found.cost.calls == len(generator.calls) == 3 + 2 * 3 and len(asked) == 6
    read = [" ".join([*(m.content for m in c.prompt), c.continuation or ""]) for c in generator.calls]
    assert found.cost.prompt_tokens == sum(len(text.split()) for text in read)


def test_closed_book_is_the_plain_question() -> None:
    generator = ScriptedGenerator(lambda messages, sampling: "owl")
    rag = Rag(generator, TableRetriever({}), task("qa"))
    assert asyncio.run(method("replug")("who?", rag, [])).text == "owl" and len(generator.calls) == 1
