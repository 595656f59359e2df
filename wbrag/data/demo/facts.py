"""Demo data set: its one fixed corpus, its training and test questions, and the facts that the embedded model knows.

Seeded. The very words of a test question are never among those that the embedded model was trained on.
"""

from __future__ import annotations

import random
from functools import cache

from wbrag.core.errors import UsageError
from wbrag.core.types import Example
from wbrag.data.demo.world import DEMO_SEED, Fact, Subject, World, build_world

CLUSTERS = 760  # about 2,000 passages
FOCUS_SUBJECTS = 220
TRAIN, TEST_REWORDED, TEST_NEW = 400, 300, 300


@cache
def demo_world() -> World:
    return build_world(random.Random(DEMO_SEED), CLUSTERS)


@cache
def _focus() -> tuple[Fact, ...]:
    """The facts of the subjects that people ask about, shuffled."""
    rng = random.Random(DEMO_SEED + 1)
    world = demo_world()
    facts = [f for s in rng.sample(world.subjects, FOCUS_SUBJECTS) for f in world.facts[s]]
    rng.shuffle(facts)
    return tuple(facts)


def well_known() -> list[tuple[list[str], str]]:
    """A quarter of those facts, the ones that the embedded model is taught by heart: (its questions, the answer).

    The very words of a test question are never among them.
    """
    held_out = {e.question for half in ("reworded", "new_facts") for e in examples()[half]}
    return [([q for q in fact.questions() if q not in held_out], fact.value) for fact in _focus()[::4]]


@cache
def examples(draw: int = 0) -> dict[str, list[Example]]:
    """`train`, and the halves of the test: `reworded` (a trained fact in other words), `new_facts` (never asked).

    Every `draw` from 1 on trains and tests with facts about other subjects of the same world, about none of which the
    embedded model was taught anything.
    """
    if draw:
        return _redrawn(draw)
    rng = random.Random(DEMO_SEED + 2)
    facts = list(_focus())
    rng.shuffle(facts)
    trained, new = facts[:TRAIN], facts[TRAIN : TRAIN + TEST_NEW]
    reworded = rng.sample(trained, TEST_REWORDED)
    return {
        "train": [_example(f"train-{i:04d}", f, "train", rng.randrange(2)) for i, f in enumerate(trained)],
        "reworded": [_example(f"reworded-{i:04d}", f, "other", rng.randrange(2)) for i, f in enumerate(reworded)],
        "new_facts": [
            _example(f"new-{i:04d}", f, rng.choice(("train", "other")), rng.randrange(2)) for i, f in enumerate(new)
        ],
    }


def _redrawn(draw: int) -> dict[str, list[Example]]:
    rng = random.Random(f"{DEMO_SEED} draw {draw}")
    facts = [fact for subject in _subjects_of(draw) for fact in demo_world().facts[subject]]
    rng.shuffle(facts)
    trained, new = facts[:TRAIN], facts[TRAIN : TRAIN + TEST_NEW]

    def asked(kind: str, number: int, fact: Fact, style: str) -> Example:
        return _example(f"draw{draw}-{kind}-{number:04d}", fact, style, rng.randrange(2))

    return {
        "train": [asked("train", i, f, "train") for i, f in enumerate(trained)],
        "reworded": [asked("reworded", i, f, "other") for i, f in enumerate(rng.sample(trained, TEST_REWORDED))],
        "new_facts": [asked("new", i, f, rng.choice(("train", "other"))) for i, f in enumerate(new)],
    }


def _subjects_of(draw: int) -> list[Subject]:
    """Subjects of this draw alone, none of them among those that the embedded model knows something about."""
    known = {fact.subject for fact in _focus()}
    others = [subject for subject in demo_world().subjects if subject not in known]
    random.Random(DEMO_SEED + 3).shuffle(others)
    found = others[(draw - 1) * FOCUS_SUBJECTS : draw * FOCUS_SUBJECTS]
    if len(found) < FOCUS_SUBJECTS:
        most = len(others) // FOCUS_SUBJECTS
        raise UsageError(f"expected a draw of 1 to {most} of the demo's questions, found {draw}: choose one of them")
    return found


def _example(id: str, fact: Fact, style: str, form: int) -> Example:
    about = {"subject": fact.subject.title, "relation": fact.relation, "gold": _stated_in()[fact]}
    return Example(id, fact.ask(style, form), (fact.value,), "qa", about)


@cache
def _stated_in() -> dict[Fact, list[str]]:
    """The passages that state each fact."""
    found: dict[Fact, list[str]] = {}
    for passage in demo_world().passages:
        for statement in passage.statements:
            if statement.fact is not None:
                found.setdefault(statement.fact, []).append(passage.id)
    return found
