"""What the benchmarks replay is what wbrag asked: prompts made again from verdicts, and rows drawn by their scores."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.benchmarks import benchmark
from tests.support.fakes import SimilarityEncoder, TableRetriever
from tests.support.scripted import ScriptedGenerator
from wbrag.core.config import load
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task
from wbrag.core.types import Example, Hit, Messages, Passage, Sampling
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import Enricher
from wbrag.enrich.rows import verdict_row
from wbrag.methods import Rag, method

PASSAGES = {f"p{n}": Passage(f"p{n}", f"Title {n}", f"Fact {n} holds. Detail {n} follows.") for n in range(5)}
QUESTION = "which bird soars?"


@pytest.mark.parametrize(
    ("known", "alone"),
    [(True, ()), (False, (0, 2)), (False, (1,)), (False, ()), (False, (0, 1, 2, 3, 4))],
    ids=["closed book suffices", "two kept", "one kept", "fallback", "all kept"],
)
def test_a_verdict_gives_back_every_prompt(
    known: bool, alone: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(messages: Messages, sampling: Sampling) -> str:
        system = messages[0].content
        if system.startswith("Extract only"):
            return "[Doc 1] Fact 0 holds."
        if system.startswith("Write one high-utility"):
            return "Kites\nOne soars."
        shown = [n for n, passage in enumerate(PASSAGES.values()) if passage.text in system]
        right = known if not shown else len(shown) == 5 or (len(shown) == 1 and shown[0] in alone)
        return "red kite" if right else "owl"

    generator, gate = ScriptedGenerator(reply), EnrichConfig()
    hits = [Hit(p.id, p.title, p.text, 0.5) for p in PASSAGES.values()]
    rag = Rag(generator, TableRetriever({QUESTION: hits}), task("qa"), gate.top_k)
    enricher = Enricher(method("naive"), rag, Distiller(generator, SimilarityEncoder({}), gate), gate)
    row = verdict_row(asyncio.run(enricher.enrich(Example("e", QUESTION, ("red kite",)))))

    enrichment = benchmark("lib.enrichment", monkeypatch)
    asked = enrichment.stages([row], PASSAGES, load())
    again = [(tuple(a.messages), a.max_tokens) for asks in asked.values() for a in asks]
    sent = [(tuple(call.prompt), call.sampling.max_tokens) for call in generator.calls if call.sampling]
    assert len(again) == row["calls"]
    assert set(again) == set(sent)


def test_rows_are_drawn_to_their_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = benchmark("calls", monkeypatch)
    rows: list[dict[str, Any]] = [
        {"id": f"r{i}", "s_nr": float(i % 5 == 0), "accepted": i % 5 in (1, 2)} for i in range(500)
    ]
    by_id = {row["id"]: row for row in rows}
    thirty = [by_id[id] for id in calls.thirty(rows)]
    assert sum(row["s_nr"] for row in thirty) / len(thirty) == pytest.approx(0.3, abs=0.005)
    like_nq = [by_id[id] for id in calls.like_nq(rows)]
    assert sum(row["s_nr"] for row in like_nq) / len(like_nq) == pytest.approx(0.3, abs=0.005)
    assert sum(row["accepted"] for row in like_nq) / len(like_nq) == pytest.approx(0.155, abs=0.005)


def test_a_prefix_cache_spares_whole_blocks_and_forgets_the_longest_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = benchmark("lib.prefixes", monkeypatch).cached_tokens
    one, other = list(range(10)), [*range(8), 99, 98]
    assert cached([one], 4) == 0
    assert cached([one, one], 4) == 8, "two whole blocks; what is left over is read again"
    assert cached([one[:8], one[:8]], 4) == 4, "one token at least is always read"
    assert cached([one, other], 4) == 8
    assert cached([one, [99, *one]], 4) == 0, "a block is known by all that stands before it"
    assert cached([one, [50] * 10, one], 4, capacity=16) == 8
    assert cached([one, [50] * 10, one], 4, capacity=8) == 0
