"""Transcripts of distillation as families write them, and what is read in them."""

from __future__ import annotations

import pytest

from wbrag.core.types import Evidence, Hit
from wbrag.enrich.distil_replies import parse_evidence, parse_unit

LIGHT = "The lighthouse at Mirrow was lit in 1871. Its keeper was Odran Pell, who “never slept”. It burns oil."
QUAY = "The quay of Tarn holds nine boats. The lamp was lit by hand."
DOCUMENTS = [Hit("a", "Mirrow Light", LIGHT, 0.9), Hit("b", "Quay of Tarn (old)", QUAY, 0.8)]
LIT = Evidence("a", "The lighthouse at Mirrow was lit in 1871.")
KEEPER = Evidence("a", "Its keeper was Odran Pell, who “never slept”.")
OIL = Evidence("a", "It burns oil.")
BOATS = Evidence("b", "The quay of Tarn holds nine boats.")
ONE, TWO = LIT.sentence, BOATS.sentence

EVIDENCE: dict[str, tuple[str, list[Evidence]]] = {
    "as asked": (f"[Doc 1] {ONE}\n[Doc 2] {TWO}", [LIT, BOATS]),
    "bulleted": (f"- [Doc 1] {ONE}\n* [Doc 2] {TWO}\n• [Doc 1] It burns oil.", [LIT, BOATS, OIL]),
    "numbered": (f"1. [Doc 1] {ONE}\n2) [Doc 2] {TWO}", [LIT, BOATS]),
    "bold": (f"**[Doc 1]** {ONE}", [LIT]),
    "all bold": (f"**[Doc 1] {ONE}**", [LIT]),
    "quoted": (f'[Doc 1] "{ONE}"', [LIT]),
    "curly quotes": (f"[Doc 1] “{ONE}”", [LIT]),
    "with the title": (f"[Doc 1](Title: Mirrow Light) {ONE}", [LIT]),
    "with a title and a colon": (f"[Doc 1] (Title: Mirrow Light): {ONE}", [LIT]),
    "with brackets in the title": (f"Doc 2(Title: Quay of Tarn (old)) {TWO}", [BOATS]),
    "without brackets": (f"Doc 1: {ONE}", [LIT]),
    "spelt out": (f"Document 1: {ONE}", [LIT]),
    "with a dash": (f"Doc 2 - {TWO}", [BOATS]),
    "a number in brackets": (f"Document [1]: {ONE}", [LIT]),
    "from": (f"From Doc 1: {ONE}", [LIT]),
    "nothing between": (f"Doc 1 {ONE}", [LIT]),
    "two of them": (f"[Doc 1, Doc 2] {TWO}", [BOATS]),
    "a number alone": (f"[1] {ONE}", [LIT]),
    "in round brackets": (f"(Doc 1) {ONE}", [LIT]),
    "named at the end": (f"{ONE} [Doc 1]", [LIT]),
    "not named": (TWO, [BOATS]),
    "the wrong one": (f"[Doc 1] {TWO}", [BOATS]),
    "no such one": (f"[Doc 7] {TWO}", [BOATS]),
    "a preamble": (f"Here are the sentences:\n\n[Doc 1] {ONE}", [LIT]),
    "other quotes inside": ('[Doc 1] Its keeper was Odran Pell, who "never slept".', [KEEPER]),
    "another case": ("[Doc 1] its keeper was odran pell, who “never slept”.", [KEEPER]),
    "a part": ("[Doc 1] Mirrow was lit in 1871", [Evidence("a", "Mirrow was lit in 1871")]),
    "a part and dots": ("[Doc 1] Mirrow was lit in ...", [Evidence("a", "Mirrow was lit in")]),
    "a short sentence": ("[Doc 1] It burns oil.", [OIL]),
    "twice": ("[Doc 1] It burns oil.\n- [Doc 1] It burns oil.", [OIL]),
    "several on a line": (f"[Doc 1] {ONE} It was painted red. It burns oil.", [LIT, OIL]),
    "half of a word": ("[Doc 1] lighthouse at Mirrow was li", []),
    "other white space": ("[Doc 1] Its keeper was Odran Pell , who “ never slept ” .", [KEEPER]),
    "a word": ("[Doc 1] Mirrow", []),
    "invented": ("[Doc 1] The lighthouse at Mirrow was lit in 1872.", []),
    "said otherwise": ("[Doc 1] Odran Pell kept the lighthouse at Mirrow.", []),
    "nothing": ("None of the passages has evidence.", []),
    "empty": ("", []),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence(name: str) -> None:
    text, expected = EVIDENCE[name]
    assert list(parse_evidence(text, DOCUMENTS, 8)) == expected


def test_white_space_around_every_mark_as_in_natural_questions() -> None:
    text = "The tube was improved by William Coolidge in 1913 , and sold ( by GE ) as the `` Coolidge tube '' ."
    found = parse_evidence(
        "The tube was improved by William Coolidge in 1913, and sold (by GE)", [Hit("n", "N", text, 1.0)], 8
    )
    assert found == (Evidence("n", "The tube was improved by William Coolidge in 1913 , and sold ( by GE )"),)


def test_the_named_document_comes_first() -> None:
    twins = [Hit("a", "A", "It burns oil.", 0.9), Hit("b", "B", "It burns oil.", 0.8)]
    assert [e.passage_id for e in parse_evidence("[Doc 2] It burns oil.", twins, 8)] == ["b"]


def test_no_more_than_asked_for() -> None:
    assert len(parse_evidence(EVIDENCE["as asked"][0], DOCUMENTS, 1)) == 1


BODY = "The lighthouse at Mirrow was lit in 1871 by its keeper Odran Pell. It burns oil."
GREY = " It is grey."
CHINESE = "米罗灯塔建于一八七一年，由看守人奥德兰·佩尔点亮，它烧的是油。"
LIGHTS = ("Mirrow Light", BODY)
UNITS = {
    "as asked": (f"Mirrow Light\n{BODY}", LIGHTS),
    "an empty line between": (f"Mirrow Light\n\n{BODY}", LIGHTS),
    "labels": (f"Title: Mirrow Light\nKnowledge: {BODY}", LIGHTS),
    "bold labels": (f"**Title:** Mirrow Light\n\n**Knowledge paragraph:** {BODY}", LIGHTS),
    "two labels on their own lines": (f"Title:\nMirrow Light\nParagraph:\n{BODY}", LIGHTS),
    "fenced": (f"```\nMirrow Light\n{BODY}\n```", LIGHTS),
    "Chinese": (CHINESE, ("", CHINESE)),
    "a label on its own line": (f"Title: Mirrow Light\nKnowledge paragraph:\n{BODY}", LIGHTS),
    "a bold title": (f"**Mirrow Light**\n{BODY}", LIGHTS),
    "a heading": (f"# Mirrow Light\n\n{BODY}", LIGHTS),
    "a quoted title": (f'"Mirrow Light"\n{BODY}', LIGHTS),
    "a rule": (f"Mirrow Light\n---\n{BODY}", LIGHTS),
    "a preamble": (f"Here is the document:\n\nMirrow Light\n{BODY}", LIGHTS),
    "a polite one": (f"Sure! Here's a retrieval document for you:\n\n**Mirrow Light**\n\n{BODY}", LIGHTS),
    "two paragraphs": ("Mirrow Light\nIt was lit.\n\nIt burns oil.", ("Mirrow Light", "It was lit. It burns oil.")),
    "one paragraph": (BODY, ("", BODY)),
    "a preamble and one paragraph": (f"Here is the document:\n{BODY}", ("", BODY)),
    "sentences on lines": (f"{BODY}\nIt is grey.", ("", f"{BODY} It is grey.")),
    "the same for ever": (f"Mirrow Light\n{BODY}{GREY * 3}", ("Mirrow Light", BODY + GREY)),
    "the same line for ever": (f"{BODY}\n" * 4, ("", BODY)),
    "a title alone": ("Mirrow Light", ("", "")),
    "empty": ("", ("", "")),
    "a title that begins like a preamble": (f"Here Lies Odran Pell\n{BODY}", ("Here Lies Odran Pell", BODY)),
}


@pytest.mark.parametrize("name", UNITS)
def test_units(name: str) -> None:
    text, expected = UNITS[name]
    assert parse_unit(text) == expected


def test_a_cut_unit_loses_its_last_sentence() -> None:
    assert parse_unit("Mirrow Light\nIt burns oil. It was", cut=True) == ("Mirrow Light", "It burns oil.")
    assert parse_unit("Mirrow Light\nIt was", cut=True) == ("", "")
    assert parse_unit(f"{BODY} It is a", cut=True) == ("", BODY)
    assert parse_unit("Mirrow Light\nIt burns oil. It is grey.", cut=True) == (
        "Mirrow Light",
        "It burns oil. It is grey.",
    )
