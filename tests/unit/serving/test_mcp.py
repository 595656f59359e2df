"""The library as tools of an agent, through the SDK's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.desk import GOOD, NOTE, DeskBench
from tests.support.serving import served, until
from tests.support.talking import bench
from wbrag.serving.keys import Keys

__all__ = ["bench"]


@pytest.fixture
def url(bench: DeskBench) -> Iterator[str]:
    with served(bench.app) as address:
        yield f"{address}/mcp"


def with_client(url: str, work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def scenario() -> Any:
        async with Client(url) as client:
            return await work(client)

    return asyncio.run(scenario())


def test_an_agent_searches_asks_and_looks_at_units(url: str) -> None:
    async def work(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"search", "ask", "unit"} and "citations" in (tools["ask"].description or "")
        found = (await client.call_tool("search", {"query": "gauge", "k": 1})).structured_content
        assert found and [hit["kind"] for hit in found["result"]] == ["unit"] and found["result"][0]["text"]
        said = (await client.call_tool("ask", {"question": "Who designed the Corvane gauge?"})).structured_content
        assert said and said["cited"] == [1, 2] and said["text"].endswith("Ada Thorn designed it [2].")
        assert [document["id"] for document in said["documents"]] == [NOTE.id, GOOD.id] and said["release"] == "r0002"
        unit = (await client.call_tool("unit", {"id": GOOD.id})).structured_content
        assert unit and unit["sources"] == [{"id": NOTE.id, "title": NOTE.title, "unchanged": True}]
        assert unit["releases"] == ["r0001", "r0002"] and unit["state"] == "approved"

    with_client(url, work)


def test_what_is_wrong_is_told_in_a_sentence(url: str) -> None:
    async def work(client: Client) -> None:
        for name, arguments, said in (
            ("unit", {"id": "wb-none"}, "expected the id of a unit, found 'wb-none'"),
            ("search", {"query": " "}, "expected a question, found no text"),
            ("search", {"query": "x", "k": 10_000}, "expected at most"),
        ):
            found = await client.call_tool(name, arguments)
            assert found.is_error and said in str(found.content[0])

    with_client(url, work)


def test_keys_are_asked_for_as_anywhere(bench: DeskBench, url: str) -> None:
    key = Keys(bench.store.path).add("agent", "reader")
    assert httpx.post(url, json={}).status_code == 401

    async def scenario() -> int:
        http = httpx.AsyncClient(headers={"authorization": f"Bearer {key}"})
        async with http, Client(streamable_http_client(url, http_client=http)) as client:
            return len((await client.list_tools()).tools)

    assert asyncio.run(scenario()) == 3


def test_the_work_of_an_agent_that_leaves_ends(bench: DeskBench) -> None:
    bench.library.delay_s = 600.0
    named = {"name": "ask", "arguments": {"question": "Who designed the Corvane gauge?"}}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": named}
    headers = {"accept": "application/json, text/event-stream"}
    with served(bench.app) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/mcp", json=asked, headers=headers, timeout=1)
        assert bench.library.calls, "it was at work"
        until(lambda: bench.app.state.service.admission.working == 0, 20)
