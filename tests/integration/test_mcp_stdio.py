"""`wbrag mcp` as an agent's program starts it: the real process, the real encoder, the SDK's own client."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.library import contents, index, published, shelve
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, ROOT, config
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Encoder
from wbrag.units.layout import Layout

pytestmark = pytest.mark.integration


def test_an_agent_starts_it_and_asks(endpoint: OpenAIServer, tmp_path: Path) -> None:
    store = Layout(tmp_path / "w", config(endpoint))
    encoder = Encoder(store.config.encoder)
    rows = [
        {"id": f"p{i}", "title": f"Note {i}", "text": f"The code of {item} is k{i}."} for i, item in enumerate(ITEMS)
    ]
    index(store, rows, encoder.encode_passages([contents(row) for row in rows]))
    unit = Unit("Lamps", f"The code of {ITEMS[0]} is k0.", ("q",), (("p0", "h"),), ())
    shelve(store, encoder, [unit])
    published(store)
    flags = [f"--generator.{name}={getattr(store.config.generator, name)}" for name in ("backend", "base_url", "model")]
    command = ["-m", "wbrag.cli", "mcp", "--workspace", str(tmp_path / "w"), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    async def scenario() -> None:
        started = stdio_client(StdioServerParameters(command=sys.executable, args=command, env=environment))
        async with Client(started) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {"search", "ask", "unit"}
            asked = {"query": f"What is the code of {ITEMS[3]}?", "k": 2}
            found = (await client.call_tool("search", asked)).structured_content
            assert found and found["result"][0]["id"] == "p3" and len(found["result"]) == 2
            said = (await client.call_tool("ask", {"question": asked["query"]})).structured_content
            assert said and said["text"] == "k3" and said["release"] == "r0001"
            seen = (await client.call_tool("unit", {"id": unit.id})).structured_content
            assert seen and seen["title"] == "Lamps" and seen["releases"] == ["r0001"]
            wrong = await client.call_tool("unit", {"id": "wb-none"})
            assert wrong.is_error and "expected the id of a unit" in str(wrong.content)

    asyncio.run(asyncio.wait_for(scenario(), 300))
