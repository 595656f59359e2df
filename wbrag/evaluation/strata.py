"""Strata: what a held-out question shares with those that units are made from, which decides what they can gain.

A unit holds facts of passages that training questions touched. It can state the answer where the question's gold
passage is one of them, may help where the article is, and cannot where neither is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wbrag.core.types import Example
from wbrag.data.chunk import document_of
from wbrag.enrich.usefulness import gold_ids
from wbrag.units.layout import Layout

STRATA = ("same passage", "same article", "neither", "unknown")  # unknown: it names no gold passage


def strata(layout: Layout, tests: Sequence[Example], trained: Sequence[Example]) -> dict[str, str]:
    """The stratum of each of `tests` by its id; an article is what has the title of a gold passage."""
    return _sorted_in(_titles(layout, [*tests, *trained]), tests, trained)


def _sorted_in(titles: Mapping[str, str], tests: Sequence[Example], trained: Sequence[Example]) -> dict[str, str]:
    passages = {id for example in trained for id in gold_ids(example)}
    articles = {titles[id] for id in passages if id in titles}

    def stratum(example: Example) -> str:
        own = gold_ids(example)
        if not own:
            return "unknown"
        if not passages.isdisjoint(own):
            return "same passage"
        return "same article" if any(titles.get(id) in articles for id in own if id in titles) else "neither"

    return {example.id: stratum(example) for example in tests}


def counts(found: Mapping[str, str]) -> dict[str, int]:
    """How many questions each stratum has, of those that have some."""
    counted = {name: list(found.values()).count(name) for name in STRATA}
    return {name: count for name, count in counted.items() if count}


def touching(layout: Layout, examples: str) -> dict[str, dict[str, int]]:
    """How many questions of NAME/SPLIT are in which stratum of every other split of NAME; the corpus is read once."""
    name, _, split = examples.partition("/")
    others = {f"{name}/{other}" for other in layout.splits(name) if other != split}
    sets = {other: layout.examples(other) for other in sorted(others)}
    own = layout.examples(examples) if sets else []
    titles = _titles(layout, [*own, *(example for found in sets.values() for example in found)])
    return {other: counts(_sorted_in(titles, own, found)) for other, found in sets.items()}


def _titles(layout: Layout, examples: Sequence[Example]) -> dict[str, str]:
    """The titles of all gold passages by the ids that the examples name; a long document was cut into `id#0` ..."""
    named = {id for example in examples for id in gold_ids(example)}
    found = layout.passages([*named, *(f"{id}#0" for id in named)])
    return {id if id in named else document_of(id): passage.title.casefold() for id, passage in found.items()}
