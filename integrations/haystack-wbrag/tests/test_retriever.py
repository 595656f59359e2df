"""The component over the endpoint that WBRAG_URL names, alone and in a pipeline that was written to YAML and read."""

from __future__ import annotations

import asyncio
import os

import httpx
import pytest
from haystack import Pipeline
from haystack.components.builders import PromptBuilder
from haystack_wbrag import WbragRetriever

URL = os.environ.get("WBRAG_URL", "")
QUESTION = os.environ.get("WBRAG_QUESTION", "Who put the Ilgan rule on paper?")
pytestmark = pytest.mark.skipif(not URL, reason="set WBRAG_URL to a running endpoint")


def test_documents_say_where_they_are_from() -> None:
    retriever = WbragRetriever(url=URL, top_k=3)
    found = retriever.run(query=QUESTION)["documents"]
    assert len(found) == 3 and found == asyncio.run(retriever.run_async(query=QUESTION))["documents"]
    assert all(document.id and document.meta["release"] for document in found)
    assert [document.score for document in found] == sorted((d.score for d in found), reverse=True)
    base = WbragRetriever(url=URL, release="none").run(query=QUESTION, top_k=2)["documents"]
    assert len(base) == 2 and {document.meta["kind"] for document in base} == {"passage"}
    assert retriever.run(query=QUESTION, filters={"no such field": "x"})["documents"] == []


def test_in_a_pipeline() -> None:
    made = Pipeline()
    made.add_component("retriever", WbragRetriever(url=URL, top_k=2))
    made.add_component("prompt", PromptBuilder("{% for d in documents %}{{ d.content }}\n{% endfor %}"))
    made.connect("retriever.documents", "prompt.documents")
    kept = made.dumps()
    assert "WBRAG_API_KEY" in kept
    read = Pipeline.loads(kept, allowed_modules=["haystack_wbrag.*"])
    result = read.run({"retriever": {"query": QUESTION}}, include_outputs_from={"retriever"})
    assert result["retriever"]["documents"][0].content in result["prompt"]["prompt"]


def test_a_refusal_is_the_endpoints_own_sentence() -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400 .*filter"):
        WbragRetriever(url=URL, filters={"year": None}).run(query=QUESTION)
