"""Attacks on the library: passages of an attacker who wants wrong answers to questions that people ask.

PoisonedRAG's (https://arxiv.org/abs/2402.07867) holds each question and a false statement. The others answer what a
defence would look for: other words, many names, passages beyond those that are retrieved, and, by someone who knows the
check `dissent`, all of it in passages that look like the archive's own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wbrag.core.types import Example, Passage
from wbrag.data.demo.facts import demo_world, examples
from wbrag.data.demo.world import Fact, grammar

TARGETS, SEEDS = 40, (7, 8, 9)


@dataclass(frozen=True)
class Target:
    """A question of the test set, and the answer that the attacker wants."""

    example: Example
    fact: Fact
    wrong: Fact


@dataclass(frozen=True)
class Attack:
    """So many passages for each target, under so many source names, which hold the question or not."""

    name: str
    passages_each: int = 5
    names: int = 1
    question: Literal["verbatim", "reworded", "none"] = "verbatim"
    disguised: bool = False  # titled and filled as the archive's own passages about the subject


ATTACKS = (
    Attack("PoisonedRAG"),
    Attack("reworded", question="reworded"),
    Attack("five names", names=5),
    Attack("decoys", passages_each=25),
    Attack("knows the check", passages_each=25, names=10, question="none", disguised=True),
)


def targets(seed: int) -> list[Target]:
    """`TARGETS` test questions, each with another value of the same relation."""
    rng = random.Random(seed)
    facts = _facts()
    sets = examples()
    found = []
    for example in rng.sample([*sets["reworded"], *sets["new_facts"]], TARGETS):
        fact = facts[example.metadata["subject"], example.metadata["relation"]]
        values = sorted(
            {f.value for f in facts.values() if f.relation == fact.relation and f.subject.kind == fact.subject.kind}
        )
        wrong = rng.choice([value for value in values if value != fact.value])
        found.append(Target(example, fact, replace(fact, value=wrong)))
    return found


def poison(attack: Attack, found: Sequence[Target], seed: int) -> list[Passage]:
    """The attacker's passages, the false statement in each of its wordings in turn."""
    rng = random.Random(seed)
    passages = []
    for t, target in enumerate(found):
        for i in range(attack.passages_each):
            parts = [_asked(attack, target, i), target.wrong.state(i % len(target.wrong.wording["statements"]))]
            number = t * attack.passages_each + i
            title = target.fact.subject.title if attack.disguised else f"Bulletin {3000 + number}"
            parts += [*_true_facts(target, rng), *_filler(rng, 2)] if attack.disguised else _filler(rng, 3)
            source = f"forum-{i % attack.names}" if attack.names > 1 else "forum"
            passages.append(Passage(f"forum-{t:02d}-{i}", title, " ".join(filter(None, parts)), source))
    return passages


def _asked(attack: Attack, target: Target, number: int) -> str:
    if attack.question == "none":
        return ""
    others = [question for question in target.fact.questions() if question != target.example.question]
    return target.example.question if attack.question == "verbatim" else others[number % len(others)]


def _true_facts(target: Target, rng: random.Random) -> list[str]:
    """Two true statements about the subject, so that the passage is right on everything else."""
    others = [fact for fact in demo_world().facts[target.fact.subject] if fact.relation != target.fact.relation]
    return [fact.state(0) for fact in rng.sample(others, min(2, len(others)))]


def _filler(rng: random.Random, count: int) -> list[str]:
    return rng.sample(grammar()["filler"], count)


def _facts() -> dict[tuple[str, str], Fact]:
    world = demo_world()
    return {(s.title, f.relation): f for s in world.subjects for f in world.facts[s]}
