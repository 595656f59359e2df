"""What earlier runs know of an example is taken, whatever their thresholds were, and changes no verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.worlds import HITS, World, run, worlds
from wbrag.core.types import Example
from wbrag.enrich.enrich import NOTHING, Known
from wbrag.enrich.rows import example_json, example_of

thresholds = st.fixed_dictionaries(
    {
        "tau_s": st.sampled_from([0.1, 0.6]),
        "tau_delta": st.sampled_from([0.01, 0.4]),
        "tau_doc": st.sampled_from([0.01, 0.5]),
        "n_min": st.sampled_from([1, 2]),
        "record": st.sampled_from(["needed", "all"]),
        "round_trip": st.booleans(),
        "lossless_skip": st.booleans(),
    }
)


@given(world=worlds, earlier=st.lists(thresholds, min_size=1, max_size=3), now=thresholds)
def test_what_is_known_is_not_asked_and_changes_nothing(
    world: World, earlier: list[dict[str, Any]], now: dict[str, Any]
) -> None:
    """Whatever thresholds came before: the verdict of a fresh run, at the price of what nobody asked yet."""
    before = [run(world, gate_metric="f1", **options) for options in earlier]
    best = max((v for v, _ in before), key=lambda v: (v.s_rag is not None, len(v.s_doc), v.written is not None))
    units = sorted((v.written for v, _ in before if v.written), key=lambda written: written.s_unit is None)
    known = Known(best, tuple(HITS) if best.hit_ids else (), tuple(units))
    fresh, _ = run(world, gate_metric="f1", **now)
    verdict, generator = run(world, known=known, gate_metric="f1", **now)
    assert verdict.calls == len(generator.calls)
    costs = replace(verdict, calls=verdict.calls + verdict.reused_calls, reused_calls=0)
    if verdict.written and fresh.written:  # a unit's documents may have been read for it again, or not
        read = verdict.written.read_calls, fresh.written.read_calls
        costs = replace(costs, calls=costs.calls + read[1] - read[0])
        costs = replace(costs, written=replace(verdict.written, read_calls=read[1]))
    assert replace(costs, ends={}) == replace(fresh, ends={})
    if now in earlier and len(earlier) == 1:
        assert not generator.calls


def test_what_is_known_travels_whole() -> None:
    hits = (replace(HITS[0], metadata={"year": 2019, "lang": ["de", "en"]}), HITS[1])
    known = replace(NOTHING, hits=hits)
    example = Example("q", "Who?", ("A",))
    assert example_of(example_json(example, known)) == (example, known)
    assert example_of(example_json(example, known))[1].hits[0].metadata == hits[0].metadata, "equality looks past it"
