"""What wbrag saves changes no verdict: its enrichment against Algorithm 1 written down plainly, every call made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes import SimilarityEncoder, TableRetriever
from tests.support.scripted import ScriptedGenerator
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task
from wbrag.core.types import Example, Hit, Messages, Sampling
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import Enricher, Verdict
from wbrag.methods import Rag, method

QUESTION, RIGHT, HALF, WRONG = "which bird soars?", "red kite", "red", "owl"
HITS = [Hit(f"p{n}", f"Title {n}", f"Fact {n} holds. Detail {n} follows.", 0.9 - n / 10) for n in range(5)]
UNIT = "Facts hold and details follow."

said = st.sampled_from([RIGHT, HALF, WRONG, "", "a red kite, they say"])
thresholds = st.sampled_from([0.0, 0.01, 0.1, 1 / 3, 0.5, 1.0])
options = st.fixed_dictionaries(
    {
        "gate_metric": st.sampled_from(["acc", "em", "f1"]),
        "tau_s": thresholds,
        "tau_delta": thresholds,
        "tau_doc": thresholds,
        "n_min": st.integers(1, 5),
        "top_k": st.integers(1, 5),
        "round_trip": st.booleans(),
    }
)
# What the model says to each set of documents that it is shown, whichever that is; the key 99 is the unit.
replies = st.dictionaries(st.frozensets(st.integers(0, 4)) | st.just(frozenset({99})), said, max_size=40)


def model(world: dict[frozenset[int], str], evidence: str) -> ScriptedGenerator:
    def reply(messages: Messages, sampling: Sampling) -> str:
        system = messages[0].content
        if system.startswith("Extract only"):
            return evidence
        if system.startswith("Write one high-utility"):
            return f"Birds\n{UNIT}"
        shown = {n for n, hit in enumerate(HITS) if hit.text in system} | ({99} if UNIT in system else set())
        return world.get(frozenset(shown), WRONG)

    return ScriptedGenerator(reply)


async def plainly(example: Example, rag: Rag, distiller: Distiller, gate: EnrichConfig) -> dict[str, Any]:
    """The paper's Algorithm 1: every example closed book and with all documents, and no answer used twice."""
    answer = method("naive")

    async def score(documents: Sequence[Hit]) -> float:
        read = await answer(example.question, rag, documents)
        return rag.task.score(read.text, example.golden_answers, gate.gate_metric)

    [hits] = await rag.retriever.search([example.question], gate.top_k)
    s_nr, s_rag = await score([]), await score(hits)
    if not (s_rag - s_nr > gate.tau_delta and s_rag > gate.tau_s):
        return {"accepted": False, "s_nr": s_nr, "s_rag": s_rag}
    s_doc = [await score([hit]) for hit in hits]
    passing = [rank for rank, s in enumerate(s_doc) if s - s_nr > gate.tau_doc]
    ranks = passing or list(range(min(gate.n_min, len(hits))))
    kept = [hits[rank] for rank in ranks]
    unit = (await distiller.distil(example.id, example.question, kept)).unit
    found = {
        "accepted": True,
        "s_nr": s_nr,
        "s_rag": s_rag,
        "s_doc": tuple(s_doc),
        "retained": tuple(ranks),
        "fallback": not passing,
        "unit": unit,
    }
    if gate.round_trip:
        found |= {"s_unit": await score([Hit("u", unit.title, unit.text, 1.0)]), "s_kept": await score(kept)}
    return found


def both(
    world: dict[frozenset[int], str], evidence: str, chosen: dict[str, Any]
) -> tuple[dict[str, Any], int, Verdict, int]:
    """The plain algorithm's findings and calls, and wbrag's."""
    gate, example = EnrichConfig(**chosen), Example("e", QUESTION, (RIGHT,))

    def parts() -> tuple[ScriptedGenerator, Rag, Distiller]:
        generator = model(world, evidence)
        rag = Rag(generator, TableRetriever({QUESTION: HITS}), task("qa"), gate.top_k)
        return generator, rag, Distiller(generator, SimilarityEncoder({}), gate)

    plain, rag, distiller = parts()
    found = asyncio.run(plainly(example, rag, distiller, gate))
    saving, rag, distiller = parts()
    verdict = asyncio.run(Enricher(method("naive"), rag, distiller, gate).enrich(example))
    return found, len(plain.calls), verdict, len(saving.calls)


@settings(max_examples=150, deadline=None)
@given(replies, st.sampled_from(["", "[Doc 1] Fact 0 holds.", "[Doc 9] Invented."]), options)
def test_no_saving_changes_a_verdict(world: dict[frozenset[int], str], evidence: str, chosen: dict[str, Any]) -> None:
    found, plain_calls, verdict, calls = both(world, evidence, chosen)
    skipped = verdict.s_rag is None
    for name, value in found.items():
        if not (skipped and name == "s_rag"):
            of = verdict.written if name in ("s_unit", "s_kept") else verdict
            assert getattr(of, name) == value, name
    once = chosen["round_trip"] and verdict.accepted and len(verdict.retained) in (1, len(verdict.s_doc))
    assert verdict.calls == calls == plain_calls - skipped - once
    k, accepted = chosen["top_k"], int(found["accepted"])
    assert plain_calls == 2 + (k + 2 + 2 * chosen["round_trip"]) * accepted, "2N + K|D| + 2|D|, and the round trip"


def test_both_savings_are_seen() -> None:
    every = {"gate_metric": "acc", "round_trip": True}
    _, plain, verdict, calls = both({frozenset(): RIGHT}, "", every)
    assert (verdict.reason, plain, calls) == ("closed book suffices", 2, 1)
    world = {frozenset(range(5)): RIGHT, frozenset({2}): RIGHT}
    _, plain, verdict, calls = both(world, "", every)
    assert (verdict.accepted, verdict.retained, plain, calls) == (True, (2,), 2 + 5 + 2 + 2, 2 + 5 + 2 + 1)
