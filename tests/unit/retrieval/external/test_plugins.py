"""Plugins: found by their entry points, named when they are not, and what a run knows of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbrag.core.config import load
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.types import Passage
from wbrag.retrieval.external import Collection, KnowsPassages, open_base, open_store, state
from wbrag.retrieval.external.source_cache import load_passages, save_passages
from wbrag.units.layout import Layout
from wbrag.units.push import push

PLUGIN = """
class Layout:
    def __init__(self, options): self.options = options
    async def search(self, queries, k): return [[] for _ in queries]
    def version(self): return self.options["version"]

def open(options):
    return Layout(options)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with an entry point, as pip leaves one."""
    (tmp_path / "wbrag_test_plugin.py").write_text(PLUGIN, encoding="utf-8")
    info = tmp_path / "wbrag_test_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wbrag-test-plugin\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[wbrag.retrievers]\nours = wbrag_test_plugin:open\nbroken = wbrag_test_plugin:missing\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_plugin_is_opened_with_its_options(plugin: None) -> None:
    config = load(retriever={"kind": "ours", "options": {"version": "v1"}})
    opened = open_store(config.retriever)
    assert opened.options == {"version": "v1"}
    assert not isinstance(opened, KnowsPassages) and not isinstance(opened, Collection)
    with pytest.raises(UsageError, match="`held` and `hold`"):
        push(Layout("nowhere", config), Layout("nowhere", config).release("none"))


def test_an_unknown_name_is_answered_with_the_known_ones(plugin: None) -> None:
    with pytest.raises(
        UsageError, match="did you mean 'ours'. expected one of broken, faiss, http, langchain, ours, pgvector"
    ):
        open_store(load(retriever={"kind": "our"}).retriever)
    with pytest.raises(UsageError, match="'broken' .* AttributeError"):
        open_store(load(retriever={"kind": "broken"}).retriever)


def test_a_run_is_named_by_the_store_its_options_and_its_version(plugin: None) -> None:
    def named(**retriever: object) -> list[str]:
        return state(load(retriever={"kind": "ours", **retriever}))

    first = named(options={"version": "v1"})
    assert first == named(options={"version": "v1"}, timeout_s=1, push=True)
    others = [
        named(options={"version": "v2"}),
        named(options={"version": "v1"}, version="mine"),
        named(options={"version": "v1"}, rescore=False),
        named(kind="http", options={"url": "http://x"}),
    ]
    assert len({str(one) for one in [first, *others]}) == 5
    assert state(load()) == [] and open_base(load(), None) is None  # type: ignore[arg-type]


def test_a_release_belongs_to_the_kind_of_base_it_was_made_beside(plugin: None, tmp_path: Path) -> None:
    ours = Layout(tmp_path, load(retriever={"kind": "ours"}))
    assert ours.indexes("none") == []
    with pytest.raises(WbragError, match="retriever.kind 'faiss', found none made beside an outside store"):
        Layout(tmp_path, load()).indexes(ours.release("none"))
    with pytest.raises(WbragError, match="expected wbrag's own index"):
        ours.base()


def test_sources_are_kept_where_the_store_cannot_be_asked_by_id(plugin: None, tmp_path: Path) -> None:
    def verdict(text: str) -> dict[str, object]:
        return {"source_passages": [{"id": "p1", "title": "t", "text": text}]}

    store = Layout(tmp_path, load(retriever={"kind": "ours"}))
    assert store.passages(["p1"]) == {}
    save_passages(tmp_path / "sources", "one", [verdict("then"), {"source_passages": None}])
    save_passages(tmp_path / "sources", "two", [verdict("now")])
    assert store.passages(["p1", "p2"]) == {"p1": Passage("p1", "t", "now")}
    assert load_passages(tmp_path / "sources", []) == {}
