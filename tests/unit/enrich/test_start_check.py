"""A model that cannot answer is refused before any row, one that cannot distil is named, bad replies are counted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.fakes import TableRetriever
from tests.support.scripted import ScriptedGenerator
from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.core.types import Completion, Hit, Message, Messages, Prompt, Sampling
from wbrag.enrich.start_check import DOCUMENTS, start_check, warnings
from wbrag.methods.meter import Meter, ends_of

EVIDENCE = "[Doc 1] The lighthouse at Mirrow was lit in 1871 by its keeper Odran Pell."
UNIT = "Mirrow Light\nThe lighthouse at Mirrow was lit in 1871 by Odran Pell."


class Says(ScriptedGenerator):
    """Answers as it is told; `whole` is the completion of the question's prompt."""

    def __init__(self, whole: Completion, evidence: str = EVIDENCE, unit: str = UNIT) -> None:
        super().__init__(lambda messages, sampling: "")
        self.whole, self.evidence, self.unit = whole, evidence, unit
        self.seen: list[Messages] = []

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        assert not isinstance(prompt, str)
        self.seen.append(prompt)
        if "Select up to" in prompt[-1].content:
            return Completion(self.evidence)
        return Completion(self.unit) if "title line" in prompt[-1].content else self.whole


def said(generator: Says, **sections: Any) -> str:
    return asyncio.run(start_check(generator, load(**sections), generator))


def test_it_is_asked_as_the_run_will_ask() -> None:
    model = Says(Completion("Odran Pell"))
    assert said(model) == ""
    question, evidence, rewrite = model.seen
    assert [m.role for m in question] == ["system", "user"] and DOCUMENTS[0].text in question[0].content
    assert DOCUMENTS[1].text in evidence[-1].content and rewrite[-1].content.count("?") == 1


def test_it_distils_the_runs_own_documents() -> None:
    """A small model may know nothing but its own kind of text."""
    kite = Hit("k", "Kites", "Red kites soar over the valley at noon.", 0.9)
    model = Says(Completion("Odran Pell"), f"[Doc 1] {kite.text}", f"Kites\n{kite.text}")
    assert "points at no sentence" in said(model)
    own = start_check(model, load(), model, question="which bird soars?", documents=[kite])
    assert asyncio.run(own) == "" and kite.text in model.seen[-2][-1].content


@pytest.mark.parametrize(
    ("whole", "found", "remedy"),
    [
        (Completion(""), "an empty reply", "tuned to follow instructions"),
        (Completion(" \n "), "an empty reply", "chat template"),
        (Completion("", finish_reason="length", thinking="Okay, the user"), "thinking alone in 32", "enable_thinking"),
        (Completion("", thinking="Hm."), "thinking alone", "thinking_tokens"),
        (Completion("\n\n", finish_reason="length"), "nothing readable in the first 32", "max_answer_tokens"),
    ],
)
def test_a_model_that_does_not_answer_is_refused_with_the_remedy(whole: Completion, found: str, remedy: str) -> None:
    with pytest.raises(WbragError) as refused:
        said(Says(whole))
    assert found in str(refused.value) and remedy in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("evidence", "unit"), [("The keeper.", UNIT), (EVIDENCE, "Mirrow")])
def test_one_that_cannot_distil_is_named_with_the_remedy(evidence: str, unit: str) -> None:
    told = said(Says(Completion("Odran Pell"), evidence, unit))
    assert "enrich.distiller extractive" in told and "distiller.generator" in told
    assert said(Says(Completion("Odran Pell"), evidence, unit), enrich={"distiller": "extractive"}) == ""


@pytest.mark.parametrize(
    ("completion", "ends"),
    [
        (Completion("a"), ["stop"]),
        (Completion("a", finish_reason="length"), ["length"]),
        (Completion(" "), ["empty"]),
        (Completion("", finish_reason="length"), ["empty"]),
        (Completion("", thinking="x"), ["thinking only"]),
        (Completion("a", thinking="x"), ["stop", "thinking stripped"]),
    ],
)
def test_how_a_reply_ended(completion: Completion, ends: list[str]) -> None:
    assert ends_of(completion) == ends


def test_labels_of_one_token_are_no_replies() -> None:
    async def main() -> dict[str, int]:
        meter = Meter(Says(Completion("yes", finish_reason="length")), TableRetriever({}))
        for tokens in (1, 32):
            await meter.generate([Message("user", "Is it?")], Sampling(max_tokens=tokens))
        return dict(meter.ends)

    assert asyncio.run(main()) == {"length": 1}


def test_a_run_says_what_is_wrong_with_its_replies() -> None:
    fine = {
        "ends": {"stop": 95, "length": 5},
        "accepted": 9,
        "evidence_fallback_rate": 0.1,
        "rewrite_fallback_rate": 0.1,
    }
    assert warnings(fine, load()) == []
    assert "50 of 100 replies were thinking alone" in warnings({"ends": {"stop": 50, "thinking only": 50}}, load())[0]
    assert "20 of 100 replies were empty" in warnings({"ends": {"stop": 80, "empty": 20}}, load())[0]
    assert "max_answer_tokens, now 32" in warnings({"ends": {"stop": 40, "length": 60}}, load())[0]
    [copies] = warnings({**fine, "evidence_fallback_rate": 0.98}, load())
    assert copies.startswith("for 98% of the units the model named no sentence") and "extractive" in copies
    assert warnings({**fine, "accepted": 3, "evidence_fallback_rate": 1.0}, load()) == [], "too few to say"
    assert warnings({"ends": {}}, load()) == []
