"""Base passages in a store with LangChain's interface: ids, titles, metadata, what may be seen, what goes wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support import vector_store
from tests.support.vector_store import Document, WordStore
from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.sections import RetrieverConfig
from wbrag.core.types import Hit
from wbrag.retrieval.external import open_store
from wbrag.retrieval.external.langchain import LangChainStore
from wbrag.retrieval.external.text_search import TextSearchBase

DOCUMENTS = [
    Document("the red lamp hangs there", {"title": "Lamp", "lang": "en", "tags": ["a"], "at": {"x": 1}}, "one"),
    Document("the red gate", {"title": "Gate", "lang": "de", "no": "n2"}, "two"),
    Document("a boat", {"no": "n3"}),
    Document("a boat", {"no": "n4"}),
]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> WordStore:
    made = WordStore(list(DOCUMENTS))
    monkeypatch.setattr(vector_store, "STORE", made)
    return made


def opened(**options: Any) -> LangChainStore:
    named = {"open": "tests.support.vector_store:open_store"} | options
    found: LangChainStore = open_store(RetrieverConfig(kind="langchain", options=named, max_retries=1))
    return found


def search(query: str, k: int = 3, allowed: Allowed = EVERYTHING, **options: Any) -> list[Hit]:
    [hits] = asyncio.run(opened(**options).search([query], k, allowed))
    return hits


def test_hits_have_what_the_documents_have(store: WordStore) -> None:
    first, second = search("the red lamp", 2)
    assert (first.id, first.title, first.text, first.score) == ("one", "Lamp", "the red lamp hangs there", 0.3)
    assert first.metadata == {"lang": "en", "tags": ["a"]}, "what no passage can hold is left out"
    assert second.id == "two"
    assert [hit.id for hit in search("boat", 2, id="no")] == ["n3", "n4"]
    unnamed = search("boat", 2)
    assert len(unnamed) == 1 and len(unnamed[0].id) == 16, "without an id the same text is one passage"
    assert unnamed == search("boat", 2)


def test_what_may_be_seen_goes_to_the_store(store: WordStore) -> None:
    assert opened().narrows is False
    allowed = Allowed(frozenset(["hr"]), '{"lang": "de"}')
    [hit] = search("red", 3, allowed, narrow="tests.support.vector_store:narrow")
    assert hit.id == "two" and store.calls[-1] == {"filter": {"lang": "de"}, "groups": ["hr"]}
    search("red", 3, narrow="tests.support.vector_store:narrow")
    assert store.calls[-1] == {}, "whoever sees everything narrows nothing"


def test_passages_are_asked_by_id_where_the_store_can(store: WordStore) -> None:
    assert opened(by_id=True).knows_passages and not opened().knows_passages
    found = opened(by_id=True).passages(["one", "gone"])
    with pytest.raises(UsageError, match="found one without"):
        search("boat", by_id=True)
    assert found.keys() == {"one"} and found["one"].title == "Lamp" and found["one"].metadata["lang"] == "en"


def test_units_can_inherit_who_may_see_a_document(store: WordStore) -> None:
    store.documents.append(Document("a secret", {"acl": ["hr", "legal"]}, "three"))
    how = {"narrow": "tests.support.vector_store:narrow", "by_id": True}
    found = opened(**how, groups="acl").passages(["one", "three"])
    assert (found["one"].groups, found["three"].groups) == ((), ("hr", "legal"))
    assert "acl" not in found["three"].metadata
    with pytest.raises(UsageError, match="expected retriever.options.groups"):
        opened(**how)


def test_a_failure_that_passes_is_tried_again(store: WordStore) -> None:
    store.failures = 1
    assert search("boat")
    store.failures = 2
    with pytest.raises(
        WbragError, match=r"the store of tests.support.vector_store:open_store, found the store is away"
    ):
        search("boat")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"open": "no_such_module:open"}, "PYTHONPATH"),
        ({"open": "tests.support.vector_store:gone"}, "found 'tests.support.vector_store:gone'"),
        ({"open": "tests.support.vector_store"}, "expected MODULE:FUNCTION"),
        ({"open": "tests.support.vector_store:NO_FUNCTION"}, "expected a function"),
        ({"narrow": "tests.support.vector_store:gone"}, "retriever.options.narrow"),
        ({"titel": "x"}, "titel"),
    ],
)
def test_what_is_no_store_is_said(store: WordStore, options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        search("boat", **options)


def test_a_function_that_opens_no_store_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_store, "STORE", object())
    with pytest.raises(UsageError, match="expected a VectorStore of LangChain, found .*similarity_search_with_score"):
        search("boat")


def test_distances_are_no_scores(store: WordStore) -> None:
    store.distances = True
    with pytest.raises(WbragError, match="found rising ones, as distances do: set retriever.rescore true"):
        asyncio.run(TextSearchBase(opened(), None, rescore=False).search(["the red lamp"], None, 3))  # type: ignore[arg-type]
