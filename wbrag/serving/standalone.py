"""Standalone queries: follow-ups of a chat as questions of their own, each asked of the model once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from wbrag.core import tracing
from wbrag.core.fingerprint import fingerprint
from wbrag.core.sections import ServingConfig
from wbrag.core.types import Cost, Generator, Hit
from wbrag.methods.conversation import Conversation, standing_alone, stands_alone
from wbrag.methods.meter import Meter

KNOWN = 1000  # follow-ups that are remembered: a client that asks again pays nothing


class _Nowhere:
    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [[] for _ in queries]


class StandaloneQueries:
    """Follow-ups as questions that stand alone; each is asked of the model once."""

    def __init__(self, generator: Generator, settings: ServingConfig, prompts_dir: str | None) -> None:
        self.generator, self.settings, self.prompts_dir = generator, settings, prompts_dir
        self._known: OrderedDict[str, str] = OrderedDict()

    async def of(self, talk: Conversation) -> tuple[Conversation, Cost]:
        """`talk` with its query, and what that cost."""
        if not self.settings.condense or stands_alone(talk.turns):
            return replace(talk, query=talk.last), Cost()
        key, cost = fingerprint([(turn.role, turn.content) for turn in talk.turns]), Cost()
        if key not in self._known:
            meter, start = Meter(self.generator, _Nowhere()), time.perf_counter()
            with tracing.span("condense", tracing.step("CHAIN")) as span:
                self._known[key] = await standing_alone(talk.turns, meter, self.prompts_dir)
                span.said(input=talk.last, output=self._known[key])
            cost = meter.cost(time.perf_counter() - start)
        self._known.move_to_end(key)
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return replace(talk, query=self._known[key]), cost
