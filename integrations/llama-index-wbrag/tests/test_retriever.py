"""The retriever over the endpoint that WBRAG_URL names, and in a query engine."""

from __future__ import annotations

import asyncio
import os

import httpx
import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index_wbrag import WbragRetriever

URL = os.environ.get("WBRAG_URL", "")
QUESTION = os.environ.get("WBRAG_QUESTION", "Who put the Ilgan rule on paper?")
pytestmark = pytest.mark.skipif(not URL, reason="set WBRAG_URL to a running endpoint")


def test_class() -> None:
    assert BaseRetriever.__name__ in [base.__name__ for base in WbragRetriever.__mro__]


def test_nodes_say_where_they_are_from() -> None:
    retriever = WbragRetriever(url=URL, k=3)
    found = retriever.retrieve(QUESTION)
    assert len(found) == 3 and found == asyncio.run(retriever.aretrieve(QUESTION))
    assert all(one.node.node_id and one.node.metadata["release"] for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    base = WbragRetriever(url=URL, release="none").retrieve(QUESTION)
    assert {one.node.metadata["kind"] for one in base} == {"passage"}
    assert WbragRetriever(url=URL, filter={"no such field": "x"}).retrieve(QUESTION) == []


def test_in_a_query_engine() -> None:
    engine = RetrieverQueryEngine.from_args(WbragRetriever(url=URL, k=2), llm=MockLLM())
    reply = engine.query(QUESTION)
    assert len(reply.source_nodes) == 2 and reply.source_nodes[0].node.text in str(reply)


def test_a_refusal_is_the_endpoints_own_sentence() -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400 .*filter"):
        WbragRetriever(url=URL, filter={"year": None}).retrieve(QUESTION)
