"""LangChain's own tests for retrievers, over the endpoint that WBRAG_URL names, and what is wbrag's own."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import httpx
import pytest
from langchain_tests.integration_tests import RetrieversIntegrationTests
from langchain_wbrag import WbragRetriever

URL = os.environ.get("WBRAG_URL", "")
QUESTION = os.environ.get("WBRAG_QUESTION", "Who put the Ilgan rule on paper?")
pytestmark = pytest.mark.skipif(not URL, reason="set WBRAG_URL to a running endpoint")


class TestWbragRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[WbragRetriever]:
        return WbragRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"url": URL}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


def test_documents_say_where_they_are_from() -> None:
    retriever = WbragRetriever(url=URL, k=3)
    found = retriever.invoke(QUESTION)
    assert found == asyncio.run(retriever.ainvoke(QUESTION))
    assert all(document.id and document.metadata["release"] for document in found)
    assert {document.metadata["kind"] for document in found} <= {"passage", "unit"}
    scores = [document.metadata["score"] for document in found]
    assert scores == sorted(scores, reverse=True)
    base = retriever.invoke(QUESTION, release="none")
    assert {document.metadata["kind"] for document in base} == {"passage"}
    assert retriever.invoke(QUESTION, filter={"no such field": "x"}) == []


def test_a_refusal_is_the_endpoints_own_sentence() -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400 .*filter"):
        WbragRetriever(url=URL, filter={"year": None}).invoke(QUESTION)
    with pytest.raises(TypeError, match="found top"):
        WbragRetriever(url=URL).invoke(QUESTION, top=3)
