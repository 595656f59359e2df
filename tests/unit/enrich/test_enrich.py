"""Algorithm 1 over scripted worlds: decisions, call counts, the lossless skip, and the unseen golden answers."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes import SimilarityEncoder, TableRetriever
from tests.support.scripted import ScriptedGenerator
from tests.support.worlds import HALF, HITS, QUESTION, RIGHT, WRONG, World, run, worlds
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task
from wbrag.core.types import Evidence, Example, Hit, Messages
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import Enricher, Verdict
from wbrag.enrich.leakage_audit import leaks
from wbrag.enrich.rows import verdict_row
from wbrag.methods import Rag, method


def test_accepted() -> None:
    verdict, generator = run(World())
    assert (verdict.id, verdict.question, verdict.task) == ("e1", QUESTION, "qa")
    assert (verdict.accepted, verdict.reason) == (True, "accepted")
    assert (verdict.s_nr, verdict.s_rag, verdict.s_doc) == (0.0, 1.0, (1.0, 0.0, 1.0, 0.0, 0.0))
    assert (verdict.closed_book, verdict.open_book, verdict.solo) == (WRONG, RIGHT, World().solo)
    assert verdict.hit_ids == tuple(hit.id for hit in HITS)
    assert verdict.hit_scores == (0.9, 0.8, 0.7, 0.6, 0.5)
    assert (verdict.retained, verdict.fallback) == ((0, 2), False)
    unit, written = verdict.unit, verdict.written
    assert unit and written and unit.sources == tuple((HITS[n].id, HITS[n].content_hash) for n in (0, 2))
    assert (unit.title, unit.text) == ("Kites", "Fact 0 holds and detail 2 follows.")
    assert unit.evidence == (Evidence("p0", "Fact 0 holds."), Evidence("p2", "Detail 2 follows."))
    assert (written.source_words, written.unit_words) == (2 * 8, 8)
    assert verdict.calls == len(generator.calls) == 1 + 1 + 5 + 2


@pytest.mark.parametrize(("read", "score"), [(RIGHT, 1.0), (WRONG, 0.0)])
def test_the_unit_is_read_as_its_documents_were(read: str, score: float) -> None:
    verdict, generator = run(World(read=read), round_trip=True)
    assert verdict.written and (verdict.written.s_unit, verdict.written.s_kept) == (score, 1.0)
    assert verdict.calls == len(generator.calls) == 9 + 2, "two documents were kept: they are read together once more"


@pytest.mark.parametrize("solo", [(RIGHT, WRONG, WRONG, WRONG, WRONG), (RIGHT,) * 5])
def test_what_was_read_before_is_not_read_again(solo: tuple[str, ...]) -> None:
    verdict, generator = run(World(solo=solo), round_trip=True)
    assert verdict.written and (verdict.written.s_unit, verdict.written.s_kept) == (1.0, 1.0)
    assert verdict.calls == len(generator.calls) == 9 + 1


def _told(**options: Any) -> tuple[Verdict, int]:
    """With five hits, of which two are retained: three may be witnesses, whose titles name the unit's."""
    hits = [Hit(f"p{n}", "Kites", hit.text, hit.score) for n, hit in enumerate(HITS)]
    world = World(unit="Kites\nFact 0 holds and detail 2 follows.", solo=(RIGHT, WRONG, RIGHT, RIGHT, WRONG))
    verdict, generator = run(world, hits=hits, round_trip=True, **options)
    assert verdict.calls == len(generator.calls)
    return verdict, len(generator.calls)


def test_witnesses_are_asked_last_and_counted() -> None:
    verdict, calls = _told(n_min=2)
    bare, fewer = _told(witnesses=0)
    assert verdict.written and bare.written
    assert (bare.written.witnesses, bare.written.witness_calls) == (None, 0)
    assert verdict.written.witnesses == (), "no text holds what the model says of it"
    assert verdict.written.witness_calls == calls - fewer == 3, "all that its evidence is not from"


def test_no_document_helps_alone() -> None:
    verdict, generator = run(World(solo=(WRONG,) * 5), n_min=3)
    assert (verdict.accepted, verdict.retained, verdict.fallback) == (True, (0, 1, 2), True)
    assert verdict.calls == len(generator.calls) == 9


def test_closed_book_suffices() -> None:
    verdict, generator = run(World(closed=RIGHT))
    assert (verdict.accepted, verdict.reason) == (False, "closed book suffices")
    assert (verdict.s_nr, verdict.s_rag, verdict.s_doc) == (1.0, None, ())
    assert verdict.calls == len(generator.calls) == 1
    verdict, generator = run(World(closed=RIGHT), lossless_skip=False)
    assert (verdict.reason, verdict.s_rag) == ("closed book suffices", 1.0)
    assert verdict.calls == len(generator.calls) == 2


def test_the_skip_retrieves_nothing() -> None:
    retriever = TableRetriever({QUESTION: HITS})
    generator, gate = ScriptedGenerator(World(closed=RIGHT).reply), EnrichConfig()
    distiller = Distiller(generator, SimilarityEncoder({}), gate)
    enricher = Enricher(method("naive"), Rag(generator, retriever, task("qa")), distiller, gate)
    asyncio.run(enricher.enrich(Example("e", QUESTION, (RIGHT,))))
    assert not retriever.calls


@pytest.mark.parametrize(
    ("world", "options"),
    [
        (World(opened=WRONG), {}),
        (World(closed=HALF, opened=HALF), {"gate_metric": "f1"}),
        (World(closed=HALF), {"gate_metric": "f1", "tau_delta": 0.33334, "lossless_skip": False}),
        (World(opened=HALF), {"gate_metric": "f1", "tau_s": 0.9}),
    ],
)
def test_retrieval_did_not_help(world: World, options: dict[str, Any]) -> None:
    verdict, generator = run(world, **options)
    out_of_reach = options.get("tau_delta", 0) > 0.3
    assert verdict.reason == ("closed book suffices" if out_of_reach else "retrieval did not help")
    assert not verdict.accepted
    assert verdict.s_rag is not None
    assert verdict.calls == len(generator.calls) == 2


def test_retrieval_that_harms_is_rejected() -> None:
    verdict, _ = run(World(closed=HALF, opened=WRONG), gate_metric="f1")
    assert (verdict.accepted, verdict.reason) == (False, "retrieval did not help")


def test_no_hits() -> None:
    verdict, generator = run(World(), hits=())
    assert (verdict.accepted, verdict.reason, verdict.hit_ids) == (False, "retrieval did not help", ())
    assert len(generator.calls) == 2


@pytest.mark.parametrize("top_k", [1, 2, 5])
@pytest.mark.parametrize(("distiller", "distillation"), [("llm", 2), ("extractive", 0)])
def test_call_count_formula(top_k: int, distiller: str, distillation: int) -> None:
    verdict, generator = run(World(), top_k=top_k, distiller=distiller)
    assert verdict.calls == len(generator.calls) == 2 + top_k + distillation


def test_solo_answers_run_together() -> None:
    _, generator = run(World())
    assert generator.max_in_flight == 5


def test_a_failing_call_is_not_swallowed() -> None:
    generator, gate = ScriptedGenerator(World().reply, failures={1: OSError("gone")}), EnrichConfig()
    rag = Rag(generator, TableRetriever({QUESTION: HITS}), task("qa"))
    enricher = Enricher(method("naive"), rag, Distiller(generator, SimilarityEncoder({}), gate), gate)
    with pytest.raises(OSError, match="gone"):
        asyncio.run(enricher.enrich(Example("e", QUESTION, (RIGHT,))))


thresholds = st.sampled_from([0.0, 0.01, 0.1, 1 / 3, 0.5, 1.0])
options = st.fixed_dictionaries(
    {
        "gate_metric": st.sampled_from(["acc", "em", "f1"]),
        "distiller": st.sampled_from(["llm", "extractive"]),
        "tau_s": thresholds,
        "tau_delta": thresholds,
        "tau_doc": thresholds,
        "n_min": st.integers(1, 5),
        "top_k": st.integers(1, 5),
    }
)


def decision(verdict: Verdict) -> tuple[object, ...]:
    v = verdict
    return (v.id, v.accepted, v.reason, v.s_nr, v.s_doc, v.retained, v.fallback, v.unit)


@settings(max_examples=60, deadline=None)
@given(worlds, options)
def test_the_lossless_skip_changes_no_decision(world: World, chosen: dict[str, Any]) -> None:
    (fast, fast_calls), (full, full_calls) = run(world, **chosen), run(world, lossless_skip=False, **chosen)
    assert decision(fast) == decision(full)
    assert fast.calls == len(fast_calls.calls)
    assert full.calls == len(full_calls.calls)
    assert full.calls - fast.calls == (fast.reason == "closed book suffices")


def test_the_lossless_skip_saves_calls() -> None:
    pick = random.Random(0).choice
    scripted = [
        World(pick([RIGHT, WRONG]), pick([RIGHT, WRONG]), tuple(pick([RIGHT, WRONG]) for _ in range(5)))
        for _ in range(30)
    ]
    fast = [run(world)[0] for world in scripted]
    full = [run(world, lossless_skip=False)[0] for world in scripted]
    assert [decision(v) for v in fast] == [decision(v) for v in full]
    skipped = sum(v.reason == "closed book suffices" for v in fast)
    assert 0 < skipped < 30
    assert sum(v.calls for v in full) - sum(v.calls for v in fast) == skipped
    accepted = sum(v.accepted for v in fast)
    assert sum(v.calls for v in full) == 30 + 30 + accepted * (5 + 2)


def distillation_prompts(generator: ScriptedGenerator) -> list[Messages]:
    openings = ("Extract only", "Write one high-utility")
    return [call.prompt for call in generator.calls if call.prompt[0].content.startswith(openings)]


@settings(max_examples=30, deadline=None)
@given(worlds, st.lists(st.sampled_from(["zebra", "golden eagle", "Q#42"]), min_size=1, max_size=3))
def test_more_golden_answers_change_no_distillation_prompt(world: World, more: list[str]) -> None:
    world = replace(world, closed=WRONG, opened=RIGHT)
    (plain, first), (richer, second) = run(world), run(world, golden=[*more, RIGHT])
    assert plain == richer
    assert plain.accepted
    assert distillation_prompts(first) == distillation_prompts(second)
    assert len(distillation_prompts(first)) == 2


def test_another_golden_answer_and_other_answers_change_no_distillation_prompt() -> None:
    other = World(opened="blue heron", solo=("blue heron", WRONG, "blue heron", WRONG, WRONG))
    (one, first), (two, second) = run(World()), run(other, golden=["Blue Heron"])
    assert one.accepted
    assert two.accepted
    assert distillation_prompts(first) == distillation_prompts(second)
    written = str(distillation_prompts(first) + distillation_prompts(second)).lower()
    assert RIGHT not in written
    assert "blue heron" not in written


# -- the judge and the leakage audit ---------------------------------------------------------------------------------


def run_judged(world: World, supported: float, **options: Any) -> tuple[Verdict, ScriptedGenerator]:
    """The judge finds RIGHT supported with probability `supported`, everything else with 0.1."""

    def first_token(prompt: Any) -> dict[str, float]:
        text = prompt[-1].content
        yes = supported if f"Answer: {RIGHT}" in text else 0.1
        return {"yes": math.log(yes), " No": math.log(1 - yes)} if "Answer:" in text else {}

    gate = EnrichConfig(gate_metric="judge", round_trip=False, **options)
    generator = ScriptedGenerator(world.reply, first_token=first_token)
    rag = Rag(generator, TableRetriever({QUESTION: HITS}), task("qa"), gate.top_k)
    enricher = Enricher(method("naive"), rag, Distiller(generator, SimilarityEncoder({}), gate), gate)
    return asyncio.run(enricher.enrich(Example("e1", QUESTION, ()))), generator


def test_a_judge_needs_no_gold_answer() -> None:
    verdict, generator = run_judged(World(), 0.9)
    assert verdict.accepted and verdict.retained == (0, 2)
    assert (verdict.s_nr, verdict.s_rag) == (pytest.approx(0.1), pytest.approx(0.9))
    assert verdict.s_doc == pytest.approx((0.9, 0.1, 0.9, 0.1, 0.1))
    assert verdict.calls == len(generator.calls) == 2 + 2 + 5 + 5 + 2
    assert run_judged(World(), 0.1)[0].reason == "retrieval did not help"


def test_the_gold_answers_probability_can_decide() -> None:
    """Each score is p(gold | the documents read), of the likeliest of the gold answers."""

    def scorer(prompt: Messages, continuation: str) -> float:
        helps = "Fact 0" in prompt[0].content or "Fact 2" in prompt[0].content
        return math.log({RIGHT: 0.8 if helps else 0.05, "kite": 0.2}[continuation])

    generator = ScriptedGenerator(World().reply, scorer=scorer)
    gate = EnrichConfig(gate_metric="logprob", round_trip=False)
    rag = Rag(generator, TableRetriever({QUESTION: HITS}), task("qa"), gate.top_k)
    enricher = Enricher(method("naive"), rag, Distiller(generator, SimilarityEncoder({}), gate), gate)
    verdict = asyncio.run(enricher.enrich(Example("e1", QUESTION, (RIGHT, "kite"))))
    assert verdict.accepted and verdict.retained == (0, 2)
    assert (verdict.s_nr, verdict.s_rag) == (pytest.approx(0.2), pytest.approx(0.8))
    assert verdict.s_doc == pytest.approx((0.8, 0.2, 0.8, 0.2, 0.2))
    assert verdict.calls == len(generator.calls) == (1 + 2) + (1 + 2) + 5 * (1 + 2) + 2
    assert not any(RIGHT in str(call.prompt) for call in generator.calls), "a prompt held the gold answer"


def test_a_unit_that_holds_an_answer_its_sources_do_not_is_a_leak() -> None:
    assert not leaks(verdict_row(run(World())[0]))
    leaking = World(unit=f"Kites\nThe {RIGHT} soars.")
    assert leaks(verdict_row(run(leaking)[0])) and run(leaking)[0].accepted
    grounded = [replace(hit, text=f"{hit.text} A {RIGHT} was seen.") for hit in HITS]
    assert not leaks(verdict_row(run(leaking, hits=grounded)[0]))


def test_every_score_is_recorded_where_asked_for_and_decides_the_same() -> None:
    for world in (World(), World(closed=RIGHT), World(opened=WRONG), World(solo=(WRONG,) * 5)):
        needed, _ = run(world)
        whole, _ = run(world, record="all")
        assert len(whole.s_doc) == 5 and whole.s_rag is not None
        deciding = ("accepted", "reason", "s_nr", "retained", "fallback", "unit")
        assert [getattr(needed, name) for name in deciding] == [getattr(whole, name) for name in deciding]
