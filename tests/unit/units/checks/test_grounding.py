"""Words alone catch what a unit says beyond its evidence, and let paraphrases pass."""

from __future__ import annotations

import random
from datetime import date

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wbrag.core.sections import ChecksConfig
from wbrag.core.types import Evidence, Passage, Unit
from wbrag.data.demo.world import Fact, build_world
from wbrag.units.checks import CheckInput, CheckResult
from wbrag.units.checks.figures import figures
from wbrag.units.checks.grounding import grounding
from wbrag.units.checks.reading import read

SETTINGS = ChecksConfig()


def check(
    text: str, *evidence: str, title: str = "", context: str = "", settings: ChecksConfig = SETTINGS
) -> CheckResult:
    source = Passage("p", title, context or " ".join(evidence))
    unit = Unit(title, text, ("q",), (("p", source.content_hash),), tuple(Evidence("p", e) for e in evidence))
    return grounding(CheckInput(unit, (source,)), settings, None)


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("The Corvane gauge was designed by Ada Vinnor.", "Ada Vinnor drew up the plans for the Corvane gauge."),
        ("Vinnor's plans led to the Corvane gauge.", "Ada Vinnor drew up the plans for the Corvane gauge."),
        ("The Drawyn flood struck on 1976-08-12.", "Alarms for the Drawyn flood rang on 12 August 1976."),
        ("The Drawyn flood struck in August 1976.", "The Drawyn flood struck on August 12, 1976."),
        ("The Drawyn flood struck in 1976.", "The Drawyn flood struck on 12 August 1976."),
        ("The Drawyn flood struck in the 1970s.", "The Drawyn flood struck in 1976."),
        ("The Drawyn flood cost 1234 crowns.", "The Drawyn flood cost 1,234 crowns."),
        ("The Drawyn flood cost 1,500,000 crowns.", "The Drawyn flood cost 1.5 million crowns."),
        ("The Drawyn works has twenty-five rooms.", "There are 25 rooms in the Drawyn works."),
        ("In 1976 Drawyn was flooded.", "The flooding of Drawyn began in 1976."),
        ("Müller and Jean-Luc Godard met in Paris.", "Jean-Luc Godard met Muller in Paris."),
        ("The war of 1914–1918 reached Drawyn.", "The war of 1914-18 reached Drawyn."),
        ("One of the rooms in Drawyn was closed first.", "A room in Drawyn was closed."),
    ],
)
def test_paraphrases_pass(text: str, evidence: str) -> None:
    found = check(text, evidence)
    assert found.passed, found.explanation
    assert [(s.start, s.end, s.supported) for s in found.spans] == [(0, len(text), True)]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("The Corvane gauge was designed by Ada Vinnell in 1955.", "vinnell"),
        ("The Corvane gauge was designed by Boris Vinnor in 1955.", "boris"),
        ("The Corvane gauge was designed by Ada Vinnor in 1956.", "1956"),
        ("The Corvane gauge was designed by Ada Vinnor on 3 May 1955.", "1955-5-3"),
        ("The Corvale gauge was designed by Ada Vinnor in 1955.", "corvale"),
        ("Corvale was designed by Ada Vinnor in 1955.", "corvale"),
        ("The Corvane gauge was designed by Ada Vinnor in 1955 in Oslo.", "oslo"),
        ("The Corvane gauge was not designed by Ada Vinnor in 1955.", "not design"),
        ("The Corvane gauge was designed by Ada Vinnor and 12 others in 1955.", "12"),
        ("The Corvane gauge was designed by Ada Vinnor and twelve others in 1955.", "12"),
    ],
)
def test_what_is_invented_is_named(text: str, missing: str) -> None:
    found = check(text, "The Corvane gauge was designed by Ada Vinnor in 1955.")
    assert not found.passed
    assert found.score == 0.0
    assert missing in found.explanation
    assert not found.spans[0].supported


def test_each_sentence_is_marked_by_itself() -> None:
    text = "The Corvane gauge costs 40 crowns. The Corvane gauge was built in Oslo. It is made of brass."
    found = check(text, "The Corvane gauge costs 40 crowns.", "It is made of brass.", title="Corvane gauge")
    assert [(text[s.start : s.end], s.supported) for s in found.spans] == [
        ("The Corvane gauge costs 40 crowns.", True),
        ("The Corvane gauge was built in Oslo.", False),
        ("It is made of brass.", True),
    ]
    assert "1 of 3 sentences" in found.explanation


def test_a_fact_of_another_subject_is_not_taken_over() -> None:
    evidence = ("Ines Quinrell was born in Craford.", "The contract of Maud Cormond dates from 1919.")
    assert not check("Ines Quinrell joined the company in 1919.", *evidence).passed
    assert check("Maud Cormond joined the company in 1919.", *evidence, settings=ChecksConfig(grounding=0.3)).passed
    evidence = ("The Veldan yard was opened in 1936.", "The Linlo pump came from Gustav Stenris.")
    assert not check("The Veldan yard came from Gustav Stenris.", *evidence).passed


def test_it_is_what_the_passage_spoke_of() -> None:
    context = "The Vinvale works employs 99 people. The Stroton lamp costs 890 crowns. Customers first saw it in 1965."
    evidence = ("The Vinvale works employs 99 people.", "Customers first saw it in 1965.")
    assert check("Customers first saw the Stroton lamp in 1965.", *evidence, context=context).passed
    assert not check("Customers first saw the Vinvale works in 1965.", *evidence, context=context).passed


def test_a_sentence_without_a_subject_speaks_of_the_title() -> None:
    evidence = "The Corvane gauge was built in 1955."
    assert check("It was built in 1955.", evidence, title="Corvane gauge").passed
    source = Passage("p", "Bulletin", evidence)
    unit = Unit("Corvale gauge", "It was built in 1955.", (), (("p", ""),), (Evidence("p", evidence),))
    assert "corvale" in grounding(CheckInput(unit, (source,)), SETTINGS).explanation


def test_nothing_beside_the_subject_is_no_support() -> None:
    evidence = ("The Halver yard employs 67 people.", "The gates of the Halver yard swung open in 1948.")
    assert not check("The Halver yard is managed by the Halver yard.", *evidence, title="Halver yard").passed


def test_a_title_of_something_else_fails() -> None:
    source = Passage("p", "Bulletin", "The pump was built by hand.")
    unit = Unit("Zanling 1999", "The pump was built by hand.", (), (), (Evidence("p", source.text),))
    assert "1999" in grounding(CheckInput(unit, (source,)), SETTINGS).explanation


@pytest.mark.parametrize("evidence", [(), ("The pump works.",)])
def test_no_evidence_or_no_text_fails(evidence: tuple[str, ...]) -> None:
    found = check("" if evidence else "The pump works.", *evidence)
    assert (found.passed, found.score, found.spans) == (False, 0.0, ())


def test_the_model_decides_where_there_is_one() -> None:
    asked: list[tuple[str, str]] = []

    def nli(pairs: list[tuple[str, str]]) -> list[tuple[float, float, float]]:
        asked.extend(pairs)
        return [(0.9 if "good" in hypothesis else 0.2, 0.1, 0.0) for _, hypothesis in pairs]

    sources = (Passage("a", "A", "One."), Passage("b", "B", "Two."))
    unit = Unit("T", "A good one. A bad one.", (), (), (Evidence("a", "One."), Evidence("b", "Two.")))
    found = grounding(CheckInput(unit, sources), SETTINGS, nli)  # type: ignore[arg-type]
    assert [s.supported for s in found.spans] == [True, False]
    assert found.score == 0.2
    assert [premise for premise, _ in asked[:3]] == ["A One.", "B Two.", "A One. B Two."]


seeds = st.integers(0, 10_000)


def told(seed: int) -> tuple[list[Fact], str, list[str]]:
    """Facts of one invented subject, its title, and each fact in a wording of the archive."""
    rng = random.Random(seed)
    world = build_world(rng, clusters=1)
    facts = world.facts[world.subjects[0]]
    return facts, facts[0].subject.title, [fact.state(rng.randrange(4)) for fact in facts]


@given(seeds)
def test_true_units_pass_in_any_order_and_wording(seed: int) -> None:
    facts, _, evidence = told(seed)
    plain = [fact.state(0) for fact in facts]
    random.Random(seed).shuffle(plain)
    found = check(" ".join(plain), *evidence, title="Bulletin 7", settings=ChecksConfig(grounding=0.4))
    assert found.passed, found.explanation
    assert all(span.supported for span in found.spans)


@given(seeds, seeds)
def test_a_replaced_name_number_or_date_fails(seed: int, other: int) -> None:
    facts, _, evidence = told(seed)
    strangers, _, _ = told(other + 20_000)
    rng = random.Random(seed)
    hard = [f for f in facts if figures(f.value)[0] or read(f"It has {f.value}.").names]
    fact = rng.choice(hard)
    of_a_kind = [f for f in strangers if f.subject.kind == fact.subject.kind and f.relation == fact.relation]
    value = of_a_kind[0].value if of_a_kind else "Xanvik Brothers" if not figures(fact.value)[0] else "1,234 crowns"
    stood = " ".join(evidence)
    assume(value not in stood and not set(value.split()) & set(stood.replace(".", "").split()) - {"the", "crowns"})
    for form in range(4):
        sentence = Fact(fact.subject, fact.relation, value).state(form)
        assert not check(sentence, *evidence, title="Bulletin 7", settings=ChecksConfig(grounding=0.0)).passed, sentence


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_number_is_held_only_by_itself(one: int, other: int) -> None:
    passes = check(f"Drawyn holds {one:,} tons.", f"Drawyn holds {other} tons.").passed
    assert passes == (one == other)


DAYS = st.dates(min_value=date(1000, 1, 1))


@given(DAYS, DAYS)
def test_a_day_is_held_only_by_itself_in_any_spelling(one: date, other: date) -> None:
    spell = ["%-d %B %Y", "%B %-d, %Y", "%Y-%m-%d", "%-dth of %B %Y"]
    for a in spell:
        for b in spell:
            said, held = one.strftime(a), other.strftime(b)
            assert check(f"Drawyn fell on {said}.", f"Drawyn fell on {held}.").passed == (one == other)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_read(text: str, evidence: str) -> None:
    found = check(text, evidence)
    assert found.score is not None and 0.0 <= found.score <= 1.0
    assert all(0 <= s.start < s.end <= len(text) for s in found.spans)
    assert check(text, text).passed == bool(found.spans)
