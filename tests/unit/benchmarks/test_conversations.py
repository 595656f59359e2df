"""The chat benchmark's conversations ask what the demo's archive states, or what it is silent about."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from wbrag.data.demo.facts import demo_world
from wbrag.data.demo.world import Fact

ROOT = Path(__file__).resolve().parents[3]
LINES = (ROOT / "benchmarks" / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
CONVERSATIONS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
KINDS = {"follow-up": 30, "chain": 12, "switch": 8, "silent": 10}
MOST_OF_ONE_SUBJECT = 3  # conversations

TEXTS = {passage.id: passage.text for passage in demo_world().passages}
STATED: defaultdict[Fact, set[str]] = defaultdict(set)
for _passage in demo_world().passages:
    for _fact in _passage.facts:
        STATED[_fact].add(_passage.id)
ANSWERED = {question for fact in STATED for question in fact.questions()}

each = pytest.mark.parametrize("conversation", CONVERSATIONS, ids=[c["id"] for c in CONVERSATIONS])


def of_kind(kind: str) -> pytest.MarkDecorator:
    chosen = [c for c in CONVERSATIONS if c["kind"] == kind]
    return pytest.mark.parametrize("conversation", chosen, ids=[c["id"] for c in chosen])


def names(question: str) -> list[str]:
    """The archive's names in a question spelled out: its capitalised words but for the first ("Jorbury", "Zoe")."""
    return re.findall(r"\b[A-Z][a-z]+", question)[1:]


def named_in(text: str, wanted: list[str]) -> list[str]:
    words = set(re.findall(r"\w+", text.casefold()))
    return [name for name in wanted if name.casefold() in words]


def facts_asked(turn: dict[str, Any]) -> list[Fact]:
    """The facts that a turn may ask for: the value of a subject that it names, or the subject of a value it names."""
    asked, answers = turn["standalone"], turn["answer"]
    return [
        fact
        for fact in STATED
        if (fact.subject.title in asked and fact.value in answers)
        or (fact.subject.label in answers and fact.value in asked)
    ]


def test_there_are_sixty_of_the_four_kinds() -> None:
    assert Counter(c["kind"] for c in CONVERSATIONS) == KINDS
    assert len({c["id"] for c in CONVERSATIONS}) == len(CONVERSATIONS) == 60


@each
def test_it_has_two_to_four_turns_of_the_one_form(conversation: dict[str, Any]) -> None:
    assert set(conversation) == {"id", "kind", "turns"}
    assert 2 <= len(conversation["turns"]) <= 4
    for turn in conversation["turns"]:
        assert set(turn) == {"question", "standalone", "answer", "gold"}
        assert turn["question"].strip() and turn["standalone"].endswith("?")
        assert names(turn["standalone"]), f"names nothing of the archive: {turn['standalone']}"


@each
def test_its_first_turn_stands_alone(conversation: dict[str, Any]) -> None:
    first = conversation["turns"][0]
    assert named_in(first["question"], names(first["standalone"])) == names(first["standalone"])


@each
def test_every_gold_passage_states_the_answer_and_none_is_left_out(conversation: dict[str, Any]) -> None:
    for turn in conversation["turns"]:
        assert bool(turn["answer"]) == bool(turn["gold"]), "both are empty where the archive is silent"
        assert len(set(turn["gold"])) == len(turn["gold"])
        for id in turn["gold"]:
            for answer in turn["answer"]:
                assert answer.casefold() in TEXTS[id].casefold(), f"{answer!r} is not in {id}"
        if turn["gold"]:
            assert [STATED[fact] for fact in facts_asked(turn)] == [set(turn["gold"])], turn["standalone"]


@each
def test_only_the_silent_ask_what_the_archive_does_not_say(conversation: dict[str, Any]) -> None:
    unanswered = [turn for turn in conversation["turns"] if not turn["answer"]]
    assert bool(unanswered) == (conversation["kind"] == "silent")
    assert len(unanswered) < len(conversation["turns"]), "one turn at least has an answer"
    assert ANSWERED.isdisjoint(turn["standalone"] for turn in unanswered)


@of_kind("follow-up")
def test_a_follow_up_does_not_spell_everything_out(conversation: dict[str, Any]) -> None:
    for turn in conversation["turns"][1:]:
        says_whom = named_in(turn["question"], names(turn["standalone"]))
        assert not says_whom or len(turn["question"]) < len(turn["standalone"]), "it would stand alone"


@of_kind("chain")
def test_a_chain_asks_about_an_earlier_answer(conversation: dict[str, Any]) -> None:
    def of_the_answer(before: dict[str, Any], turn: dict[str, Any]) -> bool:
        about = [answer.removeprefix("the ") for answer in before["answer"]]
        return any(a in turn["standalone"] and a not in turn["question"] for a in about)

    assert any(of_the_answer(*turns) for turns in pairwise(conversation["turns"]))


@of_kind("switch")
def test_a_switch_names_another_subject(conversation: dict[str, Any]) -> None:
    def switches(before: dict[str, Any], turn: dict[str, Any]) -> bool:
        now = names(turn["standalone"])
        return named_in(turn["question"], now) == now and not named_in(before["standalone"], now)

    assert any(switches(*turns) for turns in pairwise(conversation["turns"]))


def test_no_subject_is_overused() -> None:
    used: Counter[str] = Counter()
    for conversation in CONVERSATIONS:
        asked = " ".join(turn["standalone"] for turn in conversation["turns"])
        used.update(s.title for s in demo_world().subjects if s.title in asked)
    assert max(used.values()) <= MOST_OF_ONE_SUBJECT
