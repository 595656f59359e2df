"""Text-query adapter: a third-party `Retriever`, which is asked in words, as the `Base` of an `IndexRetriever`.

Its hits are validated, their scores compare with those of units, and pushed units are not among them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Protocol, cast

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.errors import WbragError
from wbrag.core.types import Hit, Retriever
from wbrag.retrieval.encoder import TextEncoder, Vectors

UNIT_ID = re.compile(r"wb-[0-9a-f]{16}")
RISE = 1e-6  # what rounding makes of equal scores
MAX_SCORE = 1.001  # an inner product of unit vectors in float16


class NarrowedRetriever(Protocol):
    """A `Retriever` that knows access lists and metadata of its passages, where `narrows` is true."""

    @property
    def narrows(self) -> bool: ...

    async def search(self, queries: Sequence[str], k: int, allowed: Allowed = EVERYTHING) -> list[list[Hit]]: ...


class TextSearchBase:
    """The `Base` protocol over a `Retriever`, scored again by `encoder` if there is one and `rescore` says so.

    Units that were pushed into the store are left out, however it is searched: wbrag adds those of the release asked.
    """

    def __init__(self, retriever: Retriever, encoder: TextEncoder | None = None, rescore: bool = True) -> None:
        self.retriever, self.encoder, self.rescore = retriever, encoder, rescore

    @property
    def narrows(self) -> bool:
        return bool(getattr(self.retriever, "narrows", False))

    async def search(
        self, queries: Sequence[str], vectors: Vectors, k: int, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        """The best `k` passages of each query, scored by the inner product with its row of `vectors` [n, d]."""
        found = await self.hits(queries, k, allowed)
        if self.rescore and self.encoder is not None:
            return await self._rescored(found, vectors, self.encoder)
        for hit in (hit for hits in found for hit in hits if abs(hit.score) > MAX_SCORE):
            raise WbragError(
                f"expected inner products of unit vectors from the outside retriever, found the score {hit.score:g} "
                "which no unit's score compares with: set retriever.rescore true"
            )
        if any(later.score > sooner.score + RISE for hits in found for sooner, later in pairwise(hits)):
            raise WbragError(
                "expected scores that fall, best first, from the outside store, found rising ones, as distances do: "
                "set retriever.rescore true"
            )
        return found

    async def hits(self, queries: Sequence[str], k: int, allowed: Allowed = EVERYTHING) -> list[list[Hit]]:
        """The best `k` passages of each query in the store's own order and with its own scores."""
        wanted, ask = k, self.retriever.search
        if not allowed.everything:
            ask = partial(cast(NarrowedRetriever, self.retriever).search, allowed=allowed)
        while True:
            found = await ask(queries, wanted)
            _check(found, len(queries), wanted)
            kept = [[replace(h, origin="base") for h in hits if not _is_unit(h)] for hits in found]
            if all(len(own) >= k or len(whole) < wanted for own, whole in zip(kept, found)):
                return [hits[:k] for hits in kept]
            wanted *= 2  # its own collection of units took places

    async def _rescored(self, found: list[list[Hit]], vectors: Vectors, encoder: TextEncoder) -> list[list[Hit]]:
        texts = list(dict.fromkeys(f"{hit.title}\n{hit.text}" for hits in found for hit in hits))
        if not texts:
            return found
        encoded = dict(zip(texts, await encoder.passages(texts)))
        return [
            [replace(hit, score=float(query @ encoded[f"{hit.title}\n{hit.text}"])) for hit in hits]
            for query, hits in zip(vectors, found)
        ]


def _is_unit(hit: Hit) -> bool:
    return hit.origin == "writeback" or UNIT_ID.fullmatch(hit.id) is not None


def _check(found: Sequence[Sequence[Hit]], queries: int, k: int) -> None:
    """What somebody else's retriever gave; raises `WbragError` in one sentence."""
    if len(found) != queries:
        raise _broken_contract(f"a list of hits for each of {queries} queries", f"{len(found)} lists")
    for hits in found:
        ids = [hit.id for hit in hits]
        if len(hits) > k:
            raise _broken_contract(f"at most {k} hits a query", f"{len(hits)}")
        if twice := next((id for id in ids if ids.count(id) > 1), None):
            raise _broken_contract("every id once among a query's hits", f"{twice!r} more often")
        for hit in hits:
            if not (isinstance(hit.id, str) and hit.id and isinstance(hit.title, str) and isinstance(hit.text, str)):
                raise _broken_contract("hits with id, title and text as texts", f"{hit!r}"[:200])
            if not math.isfinite(hit.score):
                raise _broken_contract("finite scores", f"{hit.score} for {hit.id!r}")


def _broken_contract(expected: str, found: str) -> WbragError:
    return WbragError(f"expected {expected} from the outside retriever, found {found}: mend the retriever")
