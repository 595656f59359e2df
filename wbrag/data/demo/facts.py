"""Demo data set: its one fixed corpus, its training and test questions, and the facts that the embedded model knows.

Seeded. The very words of a test question are never among those that the embedded model was trained on.
"""

from __future__ import annotations

import random
from functools import cache

from wbrag.core.types import Example
from wbrag.data.demo.world import DEMO_SEED, Fact, World, build_world

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
def examples() -> dict[str, list[Example]]:
    """`train`, and the halves of the test: `reworded` (a trained fact in other words), `new_facts` (never asked)."""
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
