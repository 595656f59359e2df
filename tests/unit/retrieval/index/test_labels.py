"""Searches narrowed by access lists and metadata: the best of what may be shown, exactly, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbrag.core.allowed import EVERYTHING, NOBODY, Allowed, access_of, checked_filter, strictest
from wbrag.core.errors import UsageError
from wbrag.core.sections import RetrievalConfig
from wbrag.core.types import Hit
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.index import scan
from wbrag.retrieval.index.labels import labels_of
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import build_shard, open_shards
from wbrag.retrieval.index.words import in_turn, index_words
from wbrag.retrieval.retriever import IndexRetriever, LocalShard

D = 8
GROUPS = st.frozensets(st.sampled_from("abc"))
SCALARS = st.one_of(st.sampled_from(["de", "en", "7"]), st.integers(5, 9), st.booleans())
METADATA = st.dictionaries(
    st.sampled_from(["lang", "year"]), st.one_of(SCALARS, st.lists(SCALARS, min_size=1, max_size=2)), max_size=2
)
BOUNDS = st.fixed_dictionaries({}, optional={"gte": st.integers(5, 9), "lt": st.integers(5, 9)}).filter(bool)
FILTERS = st.dictionaries(
    st.sampled_from(["lang", "year", "other"]),
    st.one_of(SCALARS, st.lists(SCALARS, min_size=1, max_size=3), BOUNDS),
    max_size=2,
)
ROWS = st.lists(st.tuples(GROUPS, METADATA), min_size=1, max_size=24)


class Encoder:
    async def queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack([vector(text) for text in texts])


def vector(text: str) -> Vectors:
    """Coarse, so that there are ties."""
    found = np.random.default_rng(sum(text.encode()) % 5).standard_normal(D)
    return (found / np.linalg.norm(found)).astype(np.float32)


def passes(metadata: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """The filter's rule, said once more."""
    return all(field in metadata and one_passes(metadata[field], condition) for field, condition in wanted.items())


def one_passes(value: Any, condition: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    if isinstance(condition, dict):
        numbers = [int(v) for v in values if not isinstance(v, bool) and (isinstance(v, int) or v.isdigit())]
        low, high = condition.get("gte", -99), condition.get("lt", 99)
        return any(low <= number < high for number in numbers)
    listed = condition if isinstance(condition, list) else [condition]
    wanted = {(type(one), one) for one in listed}
    wanted |= {(str, str(one)) for one in listed if type(one) is int}
    return any((type(v), v) in wanted for v in values)


def index(root: Path, rows: Sequence[tuple[frozenset[str], dict[str, Any]]], factory: str, weight: float) -> Manifest:
    """Two shards; the first block of each has no labels' columns where none of its passages has one."""
    files = []
    for place in range(2):
        own = list(range(place, len(rows), 2))
        blocks = [block(own[start : start + 4], rows) for start in range(0, len(own), 4)]
        files.append(build_shard(root, f"s{place}", factory, D, blocks))
    made = Manifest("encoder", "model", D, factory, tuple(files))
    return replace(made, keywords=index_words(root, made.shards, in_turn, lambda *_: None)) if weight else made


def block(own: Sequence[int], rows: Sequence[tuple[frozenset[str], dict[str, Any]]]) -> tuple[Vectors, pa.Table]:
    columns: dict[str, Any] = {
        "id": [f"p{i:02d}" for i in own],
        "title": [""] * len(own),
        "text": [text(i) for i in own],
    }
    access = [access_of(rows[i][0]) or None for i in own]
    metadata = [json.dumps(rows[i][1]) if rows[i][1] else None for i in own]
    if any(access):
        columns["access"] = pa.array(access, pa.string())
    if any(metadata):
        columns["metadata"] = pa.array(metadata, pa.string())
    return np.stack([vector(text(i)) for i in own]), pa.table(columns)


def text(number: int) -> str:
    return f"word{number % 3} of note {number}"


def search(root: Path, index: Manifest, k: int, weight: float, allowed: Allowed) -> list[Hit]:
    shards = [LocalShard(shard) for shard in open_shards(root, index, "base", gpu=False)]
    retriever = IndexRetriever(Encoder(), shards, RetrievalConfig(hybrid=weight))
    [hits] = asyncio.run(retriever.search(["word1 of what"], k, allowed))
    return hits


@settings(deadline=None, max_examples=25)
@given(ROWS, st.none() | GROUPS, FILTERS, st.integers(1, 12), st.sampled_from([0.0, 0.5]), st.booleans())
def test_the_best_of_what_may_be_shown(
    rows: list[tuple[frozenset[str], dict[str, Any]]],
    groups: frozenset[str] | None,
    wanted: dict[str, Any],
    k: int,
    weight: float,
    few: bool,
) -> None:
    allowed = Allowed(groups, checked_filter(wanted))
    with TemporaryDirectory() as folder, patch.object(scan, "LOOKED_THROUGH", 9 if few else 0):
        made = index(Path(folder), rows, "SQfp16", weight)
        everything = search(Path(folder), made, len(rows), weight, EVERYTHING)
        found = search(Path(folder), made, k, weight, allowed)
    may = {
        f"p{i:02d}"
        for i, (access, metadata) in enumerate(rows)
        if (groups is None or not access or access & groups) and passes(metadata, wanted)
    }
    assert [(h.id, h.score) for h in found] == [(h.id, h.score) for h in everything if h.id in may][:k]
    assert all((h.metadata or {}) == rows[int(h.id[1:])][1] for h in found)


@pytest.mark.parametrize("factory", ["Flat", "SQfp16", "SQ8", "HNSW8", "IVF2,SQ8", "IVF2,SQfp16", "OPQ2,IVF2,PQ2x4"])
@pytest.mark.parametrize("looked_through", [0, 10_000])
def test_every_kind_of_index_gives_k_of_what_may_be_shown(tmp_path: Path, factory: str, looked_through: int) -> None:
    rows = [(frozenset("a" if i % 7 == 0 else "b"), {"year": i}) for i in range(600)]
    made = index(tmp_path, rows, factory, 0.0)
    with patch.object(scan, "LOOKED_THROUGH", looked_through):
        for allowed, count in ((Allowed(frozenset("a")), 40), (Allowed(None, '{"year": {"lt": 7}}'), 7)):
            found = search(tmp_path, made, 40, 0.0, allowed)
            assert len(found) == count, "fewer hits than may be shown"
            assert all(allowed.may(access_of(rows[int(hit.id[1:])][0])) for hit in found)
        assert search(tmp_path, made, 5, 0.0, Allowed(frozenset())) == []


def test_a_shard_without_labels_is_as_it_was(tmp_path: Path) -> None:
    files = build_shard(tmp_path, "s", "SQfp16", D, [block(range(4), [(frozenset(), {})] * 4)])
    assert set(files.sha256) == {"vectors.faiss", "passages.arrow"} and labels_of(tmp_path / "s", 4) is None
    made = Manifest("encoder", "model", D, "SQfp16", (files,))
    assert len(search(tmp_path, made, 9, 0.0, Allowed(frozenset()))) == 4, "what has no list is for everybody"
    assert search(tmp_path, made, 9, 0.0, Allowed(None, '{"lang": "de"}')) == []


def test_whoever_may_see_a_unit_may_see_its_sources() -> None:
    both = strictest([access_of("ab"), "", access_of("c")])
    assert both == "a|b&c" and strictest([both, access_of("c")]) == both
    assert Allowed(frozenset("ac")).may(both) and Allowed(frozenset("bc")).may(both) and Allowed(None).may(both)
    assert not Allowed(frozenset("ab")).may(both) and not Allowed(frozenset("c")).may(both)
    assert not Allowed(frozenset("abc")).may(strictest([both, NOBODY])) and EVERYTHING.may(NOBODY)


@pytest.mark.parametrize(
    "given",
    [[], "de", {"": 1}, {"a": None}, {"a": {}}, {"a": []}, {"a": {"gt": True}}, {"a": {"gt": 1, "lt": "2"}}]
    + [{"a": {"near": 1}}, {"a": [{}]}, {"a": "x" * 2000}, {str(i): 1 for i in range(17)}, {"a": {"b": 1}}],
)
def test_a_filter_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="expected .*: correct it"):
        checked_filter(given)
