"""Distillation: only sentences that exist, and a fallback at every step."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.support.fakes import SimilarityEncoder
from tests.support.scripted import ScriptedGenerator
from wbrag.core.sections import EnrichConfig
from wbrag.core.types import Completion, Evidence, Hit, Messages, Sampling
from wbrag.enrich.distil import Distiller, parse_evidence, parse_unit

KITES = Hit("k", "Kites", "Red kites soar.  They eat\ncarrion. They nest in trees.", 0.9)
OWLS = Hit("o", "Owls", "Owls hunt at night. They see well.", 0.8)
RETAINED = [KITES, OWLS]
COSINES = {
    "Red kites soar.": 0.2,
    "They eat carrion.": 0.9,
    "They nest in trees.": 0.1,
    "Owls hunt at night.": 0.5,
    "They see well.": 0.3,
}


@dataclass
class CutGenerator(ScriptedGenerator):
    """Runs into the token limit every time."""

    async def generate(self, prompt: Messages, sampling: Sampling) -> Completion:
        return replace(await ScriptedGenerator.generate(self, prompt, sampling), finish_reason="length")


def two_steps(evidence: str, unit: str) -> Callable[[Messages, Sampling], str]:
    return lambda messages, sampling: evidence if messages[0].content.startswith("Extract only") else unit


def distiller(
    evidence: str = "",
    unit: str = "",
    settings: EnrichConfig = EnrichConfig(),  # noqa: B008
    kind: type[ScriptedGenerator] = ScriptedGenerator,
) -> tuple[Distiller, ScriptedGenerator, SimilarityEncoder]:
    generator, encoder = kind(two_steps(evidence, unit)), SimilarityEncoder(COSINES)
    return Distiller(generator, encoder, settings), generator, encoder


def sentences(evidence: tuple[Evidence, ...]) -> list[str]:
    return [e.sentence for e in evidence]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("[Doc 1] Red kites soar.", [("k", "Red kites soar.")]),
        ("  [doc  2]   Owls hunt at night.  ", [("o", "Owls hunt at night.")]),
        ("[Doc 1] They  eat carrion.", [("k", "They eat carrion.")]),  # white space may differ
        ("[Doc 1] kites soar", []),  # a part this short stands everywhere
        ("[Doc 1] kites soar. They eat carrion.", [("k", "kites soar. They eat carrion.")]),
        ("[Doc 1] Red kites soar high.", []),  # invented
        ("[Doc 1] red kites soar.", [("k", "Red kites soar.")]),
        ("[Doc 2] Red kites soar.", [("k", "Red kites soar.")]),  # it stands in another document
        ("[Doc 0] Owls hunt at night.", [("o", "Owls hunt at night.")]),
        ("[Doc 3] Owls hunt at night.", [("o", "Owls hunt at night.")]),
        ("[Doc -1] Owls hunt at night.", []),
        ("Red kites soar.", [("k", "Red kites soar.")]),
        ("Doc 1 Red kites soar.", [("k", "Red kites soar.")]),
        ("[Doc 1]", []),
        ("", []),
    ],
)
def test_parse_evidence(line: str, found: list[tuple[str, str]]) -> None:
    assert parse_evidence(line, RETAINED, 8) == tuple(Evidence(*pair) for pair in found)


def test_parse_evidence_keeps_order_once_and_the_limit() -> None:
    text = "\n[Doc 2] They see well.\n[Doc 1] Red kites soar.\n[Doc 2] They  see well.\n[Doc 2] Owls hunt at night."
    found = parse_evidence(text, RETAINED, 8)
    assert sentences(found) == ["They see well.", "Red kites soar.", "Owls hunt at night."]
    assert parse_evidence(text, RETAINED, 2) == found[:2]


def test_the_limit_counts_only_what_exists() -> None:
    text = "[Doc 1] Invented.\n" * 5 + "[Doc 1] Red kites soar."
    assert sentences(parse_evidence(text, RETAINED, 1)) == ["Red kites soar."]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("Kites\nThey soar.", ("Kites", "They soar.")),
        ("\n Kites \n\nThey soar.\nThey eat.\n", ("Kites", "They soar. They eat.")),
        ("Title: Kites\nKnowledge: They soar.", ("Kites", "They soar.")),
        ("TITLE :Kites\n\n knowledge :\n They soar.", ("Kites", "They soar.")),
        ("Kites: a title\nThey soar.", ("Kites: a title", "They soar.")),
        ("Kites", ("", "")),
        ("Kites\n \n", ("", "")),
        ("Title:\nThey soar.", ("", "")),
        ("Kites\nKnowledge:", ("", "")),
        ("", ("", "")),
    ],
)
def test_parse_unit(text: str, unit: tuple[str, str]) -> None:
    assert parse_unit(text) == unit


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("Kites\nThey soar. They nest. They ea", ("Kites", "They soar. They nest.")),
        ("Kites\nThey soar and", ("", "")),
        ("Kites", ("", "")),
    ],
)
def test_a_cut_unit_loses_its_unfinished_sentence(text: str, unit: tuple[str, str]) -> None:
    assert parse_unit(text, cut=True) == unit


def test_two_steps_to_a_unit() -> None:
    tool, generator, encoder = distiller("[Doc 2] They see well.\n[Doc 1] Made up.", "Owls\nOwls see well.")
    done = asyncio.run(tool.distil("e", "what sees well?", RETAINED))
    assert (done.unit.title, done.unit.text, done.calls) == ("Owls", "Owls see well.", 2)
    assert done.unit.evidence == (Evidence("o", "They see well."),)
    assert not done.evidence_fallback
    assert not done.rewrite_fallback
    extract, rewrite = generator.calls
    assert "Doc 2(Title: Owls) Owls hunt at night. They see well." in extract.prompt[1].content
    assert "up to 8 sentences" in extract.prompt[1].content
    assert "\nThey see well.\n" in rewrite.prompt[1].content
    assert "Made up." not in rewrite.prompt[1].content
    assert rewrite.sampling == Sampling(max_tokens=128)
    assert not encoder.calls


def test_without_evidence_the_encoder_chooses_in_the_order_of_the_documents() -> None:
    settings = EnrichConfig(fallback_sentences=3)
    tool, generator, encoder = distiller("nothing of use", "Birds\nBirds do things.", settings)
    done = asyncio.run(tool.distil("e", "what?", RETAINED))
    assert sentences(done.unit.evidence) == ["They eat carrion.", "Owls hunt at night.", "They see well."]
    assert [e.passage_id for e in done.unit.evidence] == ["k", "o", "o"]
    assert done.evidence_fallback
    assert not done.rewrite_fallback
    assert (done.unit.title, len(generator.calls)) == ("Birds", 2)
    assert encoder.calls == [("what?", *COSINES)]


def test_few_sentences_are_all_taken_without_the_encoder() -> None:
    tool, _, encoder = distiller()
    assert sentences(asyncio.run(tool.nearest("what?", RETAINED, 5))) == list(COSINES)
    assert not encoder.calls


def test_a_rewrite_that_is_no_unit_falls_back_to_the_evidence() -> None:
    tool, _, _ = distiller("[Doc 2] They see well.\n[Doc 1] Red kites soar.", "only a title")
    done = asyncio.run(tool.distil("e", "what?", RETAINED))
    assert (done.unit.title, done.unit.text, done.calls) == ("Kites", "They see well. Red kites soar.", 2)
    assert done.rewrite_fallback
    assert not done.evidence_fallback


def test_a_rewrite_cut_by_the_token_limit_is_trimmed() -> None:
    tool, _, _ = distiller("[Doc 1] Red kites soar.", "Kites\nKites soar. They are re", kind=CutGenerator)
    assert asyncio.run(tool.distil("e", "what?", RETAINED)).unit.text == "Kites soar."
    tool, _, _ = distiller("[Doc 1] Red kites soar.", "Kites\nKites soar over", kind=CutGenerator)
    done = asyncio.run(tool.distil("e", "what?", RETAINED))
    assert (done.unit.text, done.rewrite_fallback) == ("Red kites soar.", True)


def test_the_extractive_distiller_asks_no_generator() -> None:
    settings = EnrichConfig(distiller="extractive", max_sentences=2)
    tool, generator, _ = distiller("[Doc 1] Red kites soar.", "Kites\nKites soar.", settings)
    done = asyncio.run(tool.distil("e", "what?", RETAINED))
    assert not generator.calls
    assert done.calls == 0
    assert (done.unit.title, done.unit.text) == ("Kites", "They eat carrion. Owls hunt at night.")
    assert not done.evidence_fallback
    assert not done.rewrite_fallback


@pytest.mark.parametrize("name", ["distil", "extract", "rewrite", "nearest"])
def test_no_parameter_could_carry_a_golden_answer(name: str) -> None:
    parameters = inspect.signature(getattr(Distiller, name)).parameters
    assert not [p for p in parameters if any(word in p.lower() for word in ("gold", "answer", "example"))]
