"""The code of docs/integrations.md, run as it stands there."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import BaseModel

from tests.support.serving import bench, served
from wbrag.core.config import load
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.external import open_store
from wbrag.retrieval.external.text_search import TextSearchBase

PAGE = Path(__file__).resolve().parents[4] / "docs" / "integrations.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
WORDS = ("gauge", "tide", "lamp", "designed", "who")


def embed(texts: Sequence[str]) -> Vectors:
    """Unit vectors that count a few words."""
    counts = np.array([[text.lower().count(word) for word in WORDS] for text in texts], dtype=np.float32) + 0.01
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def module(name: str) -> Any:
    """The block that begins with `# name`, run."""
    [code] = [text for language, text in BLOCKS if language == "python" and text.startswith(f"# {name}\n")]
    made = ModuleType(name.removesuffix(".py"))
    exec(compile(code, f"{PAGE.name}: {name}", "exec", dont_inherit=True), made.__dict__)
    return made


def test_plain_python_and_faiss(tmp_path: Path) -> None:
    found = module("faiss_search.py")
    corpus = {"p1": "Tide\nThe tide rose.", "p2": "Gauge\nA gauge measures the tide.", "p3": "Lamp\nA lamp."}
    units = {"wb-1": "Gauge\nThe gauge was designed by Ada Thorn, who lived here."}
    for name, documents in (("corpus", corpus), ("units", units)):
        lines = [json.dumps({"id": id, "contents": contents}) + "\n" for id, contents in documents.items()]
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
    both = [found.Collection(tmp_path / name, embed) for name in ("corpus", "units")]
    hits = found.search("Who designed the gauge?", embed, *both, k=2)
    assert [document["id"] for _, document in hits] == ["wb-1", "p2"]
    assert hits[0][0] == pytest.approx(
        float(embed(["who designed gauge"])[0] @ embed(list(units.values()))[0]), abs=1e-5
    )


class Framework(BaseModel):
    """LangChain's retriever, as far as the page uses it."""

    def invoke(self, query: str) -> Any:
        return self._get_relevant_documents(query, run_manager=None)  # type: ignore[attr-defined]


def test_the_retrievers_of_other_frameworks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against stand-ins for their base classes; the page names the versions that they were tried with."""

    class Store:
        def __init__(self, *hits: tuple[str, float]) -> None:
            self.hits = list(hits)

        def similarity_search_with_score(self, query: str, k: int) -> list[tuple[str, float]]:
            return self.hits[:k]

        def retrieve(self, query: str) -> list[Any]:
            return [SimpleNamespace(text=text, score=score) for text, score in self.hits]

    for name, base in (("langchain_core", Framework), ("llama_index.core", object)):
        for part in (name.split(".")[0], name):
            monkeypatch.setitem(sys.modules, part, ModuleType(part))
        monkeypatch.setitem(sys.modules, f"{name}.retrievers", SimpleNamespace(BaseRetriever=base))
    corpus, units = Store(("p1", 0.9), ("p2", 0.5)), Store(("wb-1", 0.7))
    assert module("langchain_retriever.py").WithUnits(corpus=corpus, units=units, k=2).invoke("q") == ["p1", "wb-1"]
    found = module("llamaindex_retriever.py").WithUnits(corpus, units, k=2)._retrieve("q")
    assert [node.text for node in found] == ["p1", "wb-1"]


def test_the_endpoint(tmp_path: Path) -> None:
    with served(bench(tmp_path).app) as url:
        hits, release = module("endpoint_search.py").search("Who designed the gauge?", 2, url)
    assert release == "r0002" and [hit["origin"] for hit in hits] == ["writeback", "base"]


def test_a_store_behind_http() -> None:
    def find(query: str, k: int) -> list[dict[str, object]]:
        return [{"id": f"p{i}", "title": "", "text": query, "score": 1.0 - i} for i in range(k)]

    with served(module("store_server.py").serve(find)) as url:
        [settings] = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml" and "kind: http" in text]
        settings["retriever"]["options"]["url"] = f"{url}/search"
        store = TextSearchBase(open_store(load(**settings).retriever))
        found = asyncio.run(store.hits(["a", "b"], 2))
    assert [[(h.id, h.text) for h in hits] for hits in found] == [
        [("p0", "a"), ("p1", "a")],
        [("p0", "b"), ("p1", "b")],
    ]


def test_a_plugin() -> None:
    texts = {"a": "the tide", "b": "who designed the gauge", "c": "the gauge"}
    store = TextSearchBase(module("my_store.py").MyStore({"texts": texts}))
    [hits] = asyncio.run(store.hits(["Who designed the gauge"], 2))
    assert [h.id for h in hits] == ["b", "c"]


def test_the_settings_of_the_page_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = ModuleType("notes")  # what is on the page needs packages that are not here
    notes.open_store = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "notes", notes)
    for language, text in BLOCKS:
        if language == "yaml":
            open_store(load(**yaml.safe_load(text)).retriever)
