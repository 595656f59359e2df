"""Releases of a library that is searched by words too: built, published, served, refused where words are missing."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.hostless import Life, open_life
from tests.support.library import proposed, published
from tests.support.releases import library, two_releases
from wbrag.core.config import load
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.types import Hit
from wbrag.executor.reuse import ranking
from wbrag.retrieval.external import open_base
from wbrag.retrieval.index.words import in_turn, index_words
from wbrag.retrieval.keywords.index import VERSION
from wbrag.units.layout import Layout

HYBRID = {"hybrid": 0.6}


@pytest.fixture
def old(tmp_path: Path) -> Layout:
    return two_releases(Layout(tmp_path / "w", load(checks={"policy": "manual"})))


def life(folder: Path, **retrieval: float) -> Life:
    return open_life(str(folder / "w"), retrieval=retrieval)


def corpus(folder: Path) -> Life:
    rows = [{"id": f"b{i}", "contents": f"b {i}\nabout b {i}"} for i in range(40)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with life(folder) as workspace:
        workspace.ingest_corpus(folder / "corpus.jsonl")
        workspace.index()
    return workspace


def test_an_index_without_words_says_how_to_get_them(old: Layout) -> None:
    hybrid = old.varied(retrieval=HYBRID)
    with pytest.raises(WbragError, match=r"expected an index of words beside index/base-.*: run `wbrag index` with it"):
        hybrid.indexes("none")
    assert not hybrid.indexed()
    assert len(old.indexes("latest")) == 2  # as before, where words are not asked for


def test_words_are_built_beside_vectors_that_stay(tmp_path: Path) -> None:
    before = corpus(tmp_path).indexes("none")[0][0]
    with life(tmp_path, **HYBRID) as hybrid:
        hybrid.index()
        after = hybrid.indexes("none")[0][0]
        assert after.shards == before.shards and after.keywords and len(after.keywords.shards) == len(after.shards)
        assert hybrid.layout.indexed()
        pointer = (tmp_path / "w" / "index" / "base.json").read_text()
        hybrid.index()
        assert (tmp_path / "w" / "index" / "base.json").read_text() == pointer
    with life(tmp_path) as plain:  # words that are there are not opened where they do not count
        assert plain.indexes("none")[0][0].keywords is None


def test_a_release_searches_by_words_and_says_so(old: Layout) -> None:
    """The vectors of these texts are noise; only words find a passage by half of its text."""
    hybrid = old.varied(retrieval=HYBRID)
    words(hybrid)
    release = hybrid.release("none")

    def first(layout: Layout) -> Hit:
        [hits] = asyncio.run(library(layout).search(["what is said about b 17"], 3, release))
        return hits[0]

    assert first(hybrid).id == "b17" and first(hybrid).how_found()["found_by"] in ("keywords", "both")
    assert first(old.varied(retrieval={"hybrid": 0.0})).ways is None


def words(layout: Layout) -> None:
    """What `wbrag index` does beside vectors that are there."""
    base, _, _ = layout.base()
    root = layout.path / "index"
    keywords = index_words(root, base.shards, in_turn, lambda done, total: None)
    manifest = replace(base, keywords=keywords)
    file = root / f"base-{manifest.name}.json"
    pointer = {"manifest": f"index/{file.name}", "sha256": manifest.write(file), "corpus": "c"}
    (root / "base.json").write_text(json.dumps(pointer))


def test_publishing_gives_units_words_too(old: Layout) -> None:
    hybrid = old.varied(retrieval=HYBRID)
    words(hybrid)
    with pytest.raises(WbragError, match=re.escape("found none: run `wbrag index` and `wbrag publish` with it")):
        hybrid.indexes("latest")  # a release of before
    row = published(hybrid)
    assert row.number == 3
    [hits] = asyncio.run(library(hybrid).search(["distilled 7"], 3, row))
    assert hits[0].origin == "writeback" and hits[0].title == "unit 7"
    assert proposed(hybrid) == row, "nothing new must make no release"


def test_an_outside_store_searches_by_its_own_words() -> None:
    config = load(retriever={"kind": "http", "options": {"url": "http://127.0.0.1:9"}}, retrieval=HYBRID)
    with pytest.raises(UsageError, match=r"expected wbrag's own index for retrieval.hybrid, found .*'http'"):
        open_base(config, None)  # type: ignore[arg-type]


def test_what_is_found_decides_what_is_asked_again() -> None:
    assert ranking(load()) == () and ranking(load(retrieval=HYBRID)) == (0.6, VERSION)
