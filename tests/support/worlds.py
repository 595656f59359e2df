"""Scripted worlds for Algorithm 1: what a model says over no, all and single documents, and when it distils."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.support.fakes import SimilarityEncoder, TableRetriever
from tests.support.scripted import ScriptedGenerator
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task
from wbrag.core.types import Example, Hit, Messages, Sampling
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import NOTHING, Enricher, Known, Verdict
from wbrag.methods import Rag, method

QUESTION = "which bird soars?"
HITS = [Hit(f"p{n}", f"Title {n}", f"Fact {n} holds. Detail {n} follows.", 0.9 - n / 10) for n in range(5)]
RIGHT, HALF, WRONG = "red kite", "red", "owl"


@dataclass(frozen=True)
class World:
    """What the model says: without documents, with all, with each alone; and what it writes when it distils."""

    closed: str = WRONG
    opened: str = RIGHT
    solo: tuple[str, ...] = (RIGHT, WRONG, RIGHT, WRONG, WRONG)
    evidence: str = "[Doc 1] Fact 0 holds.\n[Doc 2] Detail 2 follows."
    unit: str = "Kites\nFact 0 holds and detail 2 follows."
    read: str = RIGHT  # from the unit alone

    def reply(self, messages: Messages, sampling: Sampling) -> str:
        system = messages[0].content
        if system.startswith("Extract only"):
            return self.evidence
        if system.startswith("Write one high-utility"):
            return self.unit
        if "Fact 0 holds and detail 2 follows." in system:
            return self.read
        shown = [n for n, hit in enumerate(HITS) if hit.text in system]
        if not shown:
            return self.closed
        return self.solo[shown[0]] if len(shown) == 1 else self.opened

    def logprob(self, messages: Messages, gold: str) -> float:
        """Of the whole answer, two words: by how well it reads over what is shown."""
        shown = [n for n, hit in enumerate(HITS) if hit.text in messages[0].content]
        return -8.0 if not shown else -1.0 - shown[0]


def run(
    world: World,
    golden: Sequence[str] = (RIGHT,),
    hits: Sequence[Hit] = HITS,
    known: Known = NOTHING,
    **options: Any,
) -> tuple[Verdict, ScriptedGenerator]:
    gate = EnrichConfig(**{"round_trip": False, **options})
    generator = ScriptedGenerator(world.reply, scorer=world.logprob)
    rag = Rag(generator, TableRetriever({QUESTION: hits}), task("qa"), gate.top_k)
    enricher = Enricher(method("naive"), rag, Distiller(generator, SimilarityEncoder({}), gate), gate)
    return asyncio.run(enricher.enrich(Example("e1", QUESTION, tuple(golden)), known)), generator


said = st.sampled_from([RIGHT, HALF, WRONG, "", "a red kite, they say"])
worlds = st.builds(
    World,
    closed=said,
    opened=said,
    solo=st.tuples(*[said] * 5),
    evidence=st.sampled_from([World.evidence, "", "[Doc 1] Invented.", "[Doc 9] Fact 0 holds."]),
    unit=st.sampled_from([World.unit, "", "only a title"]),
)
