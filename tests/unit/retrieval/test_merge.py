"""The merged ranking: by score, ties by id, and its two options."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wbrag.core.types import Hit, Origin
from wbrag.retrieval.merge import best, merge

scores = st.sampled_from([-0.5, 0.0, 0.25, 0.5, 0.75])
sizes, numbers = st.integers(0, 8), st.integers(0, 9)


def hit(id: str, score: float) -> Hit:
    origin: Origin = "writeback" if id.startswith("wb") else "base"
    return Hit(id, f"title {id}", f"text {id}", score, origin)


def lists(prefix: str) -> st.SearchStrategy[list[Hit]]:
    return st.lists(st.builds(lambda n, score: hit(f"{prefix}{n}", score), numbers, scores), max_size=12)


base_hits, units = lists("p"), lists("wb")


def ranked(hits: list[Hit]) -> bool:
    return hits == sorted(hits, key=lambda h: (-h.score, h.id))


@settings(max_examples=60, deadline=None)
@given(base_hits, sizes, st.randoms(use_true_random=False))
def test_best(hits: list[Hit], k: int, draw: object) -> None:
    found = best(hits, k)
    assert ranked(found)
    assert len(found) == min(k, len({h.id for h in hits})) == len({h.id for h in found})
    assert set(found) <= set(hits)
    assert all(h.score == max(other.score for other in hits if other.id == h.id) for h in found)
    shuffled = list(hits)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    assert best(shuffled, k) == found


@settings(max_examples=60, deadline=None)
@given(base_hits, units, sizes)
def test_merge_is_the_best_of_both(base: list[Hit], writeback: list[Hit], k: int) -> None:
    found = merge(base, writeback, k)
    assert found == best([*base, *writeback], k) == merge(writeback, base, k) == merge(base[::-1], writeback[::-1], k)
    assert ranked(found)


@settings(max_examples=60, deadline=None)
@given(st.lists(base_hits, max_size=4), sizes)
def test_merging_in_steps_changes_nothing(parts: list[list[Hit]], k: int) -> None:
    everything = [h for part in parts for h in part]
    assert best([h for part in parts for h in best(part, k)], k) == best(everything, k)


@settings(max_examples=60, deadline=None)
@given(base_hits, units, sizes, st.floats(0, 1))
def test_share_is_a_cap(base: list[Hit], writeback: list[Hit], k: int, share: float) -> None:
    found = merge(base, writeback, k, max_writeback_share=share)
    taken = [h for h in found if h.origin == "writeback"]
    assert len(taken) <= share * k + 1e-6
    assert ranked(found)
    assert taken == best(writeback, len(taken))
    allowed = min(int(share * k + 1e-9), len({h.id for h in writeback}))
    assert len(found) == min(k, len({h.id for h in base}) + allowed)


def test_share_in_whole_hits() -> None:
    base, writeback = [hit(f"p{n}", 0.1) for n in range(9)], [hit(f"wb{n}", 0.9) for n in range(9)]
    for share, k, expected in ((0.0, 5, 0), (0.2, 5, 1), (0.3, 10, 3), (0.39, 5, 1), (0.6, 5, 3), (1.0, 5, 5)):
        found = merge(base, writeback, k, max_writeback_share=share)
        assert len(found) == k
        assert sum(h.origin == "writeback" for h in found) == expected


@settings(max_examples=60, deadline=None)
@given(
    base_hits,
    units,
    sizes,
    st.dictionaries(numbers.map(lambda n: f"wb{n}"), st.frozensets(numbers.map(lambda n: f"p{n}"), max_size=3)),
)
def test_displaced_sources_are_absent(
    base: list[Hit], writeback: list[Hit], k: int, sources: dict[str, frozenset[str]]
) -> None:
    found = merge(base, writeback, k, sources=sources)
    displaced = frozenset[str]().union(*(sources.get(h.id, frozenset()) for h in found))
    assert not displaced & {h.id for h in found}
    assert found == best([h for h in [*base, *writeback] if h.id not in displaced], k)
    assert {h.id for h in merge(base, writeback, k) if h.origin == "writeback"} <= {h.id for h in found}


def test_a_unit_that_moves_up_displaces_in_its_turn() -> None:
    base = [hit("p1", 0.9), hit("p2", 0.8), hit("p3", 0.1)]
    writeback = [hit("wb1", 0.7), hit("wb2", 0.6)]
    sources = {"wb1": frozenset({"p1"}), "wb2": frozenset({"p2"})}
    assert [h.id for h in merge(base, writeback, 3, sources=sources)] == ["wb1", "wb2", "p3"]


def test_a_unit_outside_the_ranking_displaces_nothing() -> None:
    sources = {"wb1": frozenset({"p1"})}
    assert [h.id for h in merge([hit("p1", 0.9)], [hit("wb1", 0.1)], 1, sources=sources)] == ["p1"]
