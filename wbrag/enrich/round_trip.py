"""Round trip (paper eq. 11): is a question answered as well from its unit as from the documents it was distilled from?

Both scores are returned and nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from wbrag.core.types import Example, Hit, Unit
from wbrag.enrich.scores import Scorer
from wbrag.methods import Method, Rag


class RoundTrip(NamedTuple):
    """The answer's score read from the unit alone, and from the retained documents; `calls` of the generator."""

    s_unit: float
    s_kept: float
    calls: int


async def round_trip(
    method: Method,
    rag: Rag,
    scorer: Scorer,
    example: Example,
    unit: Unit,
    retained: Sequence[Hit],
    *,
    s_kept: float | None = None,
) -> RoundTrip:
    """Both sides of the equation; `s_kept` where it is known already."""
    shown = Hit(unit.id, unit.title, unit.text, 1.0)
    contexts = [[shown], list(retained)] if s_kept is None else [[shown]]
    answers = await asyncio.gather(*(method(example.question, rag, documents) for documents in contexts))
    scores = await asyncio.gather(*(scorer.score(answer, example, retained) for answer in answers))
    return RoundTrip(scores[0], scores[-1] if s_kept is None else s_kept, sum(answer.cost.calls for answer in answers))
