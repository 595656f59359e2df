"""The formula counts what Algorithm 1 asks: every call of a scripted run, stage by stage and word by word."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fakes import SimilarityEncoder, TableRetriever
from tests.support.scripted import Call, ScriptedGenerator
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task
from wbrag.core.types import Example, Hit, Messages, Sampling
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import Enricher
from wbrag.enrich.rows import verdict_row
from wbrag.evaluation.estimate.calls import Words, shares_of, stages, words_of
from wbrag.methods import Rag, method

RIGHT, WRONG = "red kite", "grey owl"
UNIT = "Kites soar\nWhat was found holds for kites."
N = 120


def hits(question: str) -> list[Hit]:
    return [Hit(f"{question}-{n}", f"Title {n}", f"Line {n} of {question} holds here.", 0.9 - n / 10) for n in range(5)]


def world(closed: float, accepted: float, seed: int) -> tuple[list[Example], dict[str, Any]]:
    """For each question: known by heart, helped by documents, and which documents help alone."""
    rng = random.Random(seed)
    examples = [Example(f"e{n}", f"question {n:03}", (RIGHT,)) for n in range(N)]
    kinds = ["closed"] * round(closed * N) + ["helped"] * round(accepted * N)
    kinds += ["lost"] * (N - len(kinds))
    rng.shuffle(kinds)
    solo = [[rng.random() < 0.4 for _ in range(5)] for _ in examples]
    return examples, {e.question: (kind, helps) for e, kind, helps in zip(examples, kinds, solo)}


def run(closed: float, accepted: float, **options: Any) -> tuple[list[dict[str, Any]], list[Call], EnrichConfig]:
    examples, script = world(closed, accepted, seed=int(100 * closed + accepted))

    def reply(messages: Messages, sampling: Sampling) -> str:
        system, user = messages[0].content, messages[-1].content
        question = next(q for q in script if q in user)
        kind, helps = script[question]
        if system.startswith("Extract only"):
            line = next(line for line in user.splitlines() if line.startswith("Doc 1("))
            return f"[Doc 1] {line.partition(') ')[2]}"
        if system.startswith("Write one high-utility"):
            return UNIT
        shown = [n for n, hit in enumerate(hits(question)) if hit.text in system]
        if not shown and "What was found" not in system:
            return RIGHT if kind == "closed" else WRONG
        good = kind == "helped" and (len(shown) != 1 or helps[shown[0]])
        return RIGHT if good else WRONG

    settings = EnrichConfig(**options)
    generator = ScriptedGenerator(reply, scorer=lambda prompt, gold: -1.0)
    rag = Rag(generator, TableRetriever({e.question: hits(e.question)[: settings.top_k] for e in examples}), task("qa"))
    rag = replace(rag, top_k=settings.top_k)
    enricher = Enricher(method("naive"), rag, Distiller(generator, SimilarityEncoder({}), settings), settings)

    async def every() -> list[Any]:
        return [await enricher.enrich(example) for example in examples]

    return [verdict_row(verdict) for verdict in asyncio.run(every())], generator.calls, settings


def kinds(calls: Sequence[Call]) -> Counter[str]:
    found: Counter[str] = Counter()
    for call in calls:
        system = call.prompt[0].content
        documents = system.count("(Title: ")
        if call.continuation:
            found["usefulness"] += 1
        elif system.startswith("Extract only"):
            found["evidence"] += 1
        elif system.startswith("Write one high-utility"):
            found["rewrite"] += 1
        elif "What was found" in system:
            found["unit read"] += 1
        else:
            found["closed book" if not documents else "one document" if documents == 1 else "several"] += 1
    return found


@pytest.mark.parametrize(("closed", "accepted"), [(0.3, 0.15), (0.0, 1.0), (0.6, 0.0), (0.25, 0.4)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"round_trip": False},
        {"lossless_skip": False},
        {"record": "all"},
        {"distiller": "extractive"},
        {"top_k": 3},
        {"candidates": 4},
    ],
)
def test_the_formula_counts_every_call(closed: float, accepted: float, options: dict[str, Any]) -> None:
    rows, calls, settings = run(closed, accepted, **options)
    shares = shares_of(rows, settings.top_k)
    assert (shares.closed_book, shares.accepted) == pytest.approx((closed, accepted), abs=0.5 / N)
    found = stages(N, shares, words_of(rows, 9), settings)
    made = kinds(calls)
    for name in ("closed book", "evidence", "rewrite", *(["usefulness"] if settings.candidates else [])):
        assert found[name].calls == pytest.approx(made[name]), name
    alone = made["one document"] + made["unit read"]  # an extractive unit looks like a document
    assert found["one document"].calls + found["unit read"].calls == pytest.approx(alone)
    assert found["open book"].calls + found["sources read again"].calls == pytest.approx(made["several"])
    assert sum(stage.calls for stage in found.values()) == pytest.approx(sum(row["calls"] for row in rows))


def test_the_papers_own_formula() -> None:
    """2N + K|D| + 2|D| without what wbrag saves and adds."""
    rows, calls, settings = run(0.3, 0.15, lossless_skip=False, round_trip=False)
    found = stages(N, shares_of(rows, 5), words_of(rows, 9), settings)
    accepted = sum(row["accepted"] for row in rows)
    assert sum(s.calls for s in found.values()) == pytest.approx(2 * N + 5 * accepted + 2 * accepted) == len(calls)


@pytest.mark.parametrize("options", [{}, {"candidates": 4}])
def test_the_words_of_the_prompts(options: dict[str, Any]) -> None:
    """Every passage here has 2 + 7 words, every question 2."""
    rows, calls, settings = run(0.3, 0.3, **options)
    found = stages(N, shares_of(rows, 5), words_of(rows, 9), settings)
    expected = sum(stage.calls * stage.prompt_words for stage in found.values())
    asked = sum(len(message.content.split()) for call in calls for message in call.prompt)
    asked += sum(len((call.continuation or "").split()) for call in calls)
    assert expected == pytest.approx(asked, rel=0.01)


def test_nothing_accepted_nothing_examined() -> None:
    assert shares_of([], 5).accepted == 0
    assert words_of([], 9) == Words(9, 0, 0, 0, 0)
