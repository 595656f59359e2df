"""Ways to ask a running endpoint for an answer, and what each is told: its text, its release, the ids of its hits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

CHAT = "/v1/chat/completions"


def question(item: str) -> str:
    return f"What is the code of {item}?"


def body(item: str, **more: object) -> dict[str, object]:
    return {"model": "wbrag", "messages": [{"role": "user", "content": question(item)}], **more}


def chat(text: str) -> dict[str, Any]:
    reply = json.loads(text)
    return {"text": reply["choices"][0]["message"]["content"], **block(reply["wbrag"])}


def streamed(text: str) -> dict[str, Any]:
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    if "error" in events[-1]:
        return {"status": BUSY[events[-1]["error"]["code"]], "inside": True}
    assert text.rstrip().endswith("data: [DONE]"), "a stream broke off"
    pieces = (choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    return {"text": "".join(pieces), **block(next(event["wbrag"] for event in events if "wbrag" in event))}


def response(text: str) -> dict[str, Any]:
    reply = json.loads(text)
    return {"text": reply["output"][0]["content"][0]["text"], **block(reply["wbrag"])}


def response_streamed(text: str) -> dict[str, Any]:
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    last = events[-1]
    if last["type"] in ("error", "response.failed"):
        return {"status": BUSY[(last.get("response", {}).get("error") or last)["code"]], "inside": True}
    assert last["type"] == "response.completed", "a stream broke off"
    return response(json.dumps(last["response"]))


def tool(text: str) -> dict[str, Any]:
    result = json.loads(text)["result"]
    if result.get("isError"):
        return {"status": 429 if "are at work" in str(result["content"]) else 504, "inside": True}
    said = result["structuredContent"]
    return {"text": said["text"], "release": said["release"], "ids": [d["id"] for d in said["documents"]]}


def block(told: dict[str, Any]) -> dict[str, Any]:
    return {"release": told["release"], "ids": [hit["id"] for hit in told["hits"]]}


def call(item: str) -> dict[str, object]:
    named = {"name": "ask", "arguments": {"question": question(item)}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": named}


BUSY = {"busy": 429, "draining": 503, "timeout": 504, "upstream": 502, "not_ready": 503}
WAYS: dict[str, tuple[str, Callable[[str], dict[str, object]], Callable[[str], dict[str, Any]]]] = {
    "chat": (CHAT, body, chat),
    "stream": (CHAT, lambda item: body(item, stream=True), streamed),
    "response": ("/v1/responses", lambda item: {"input": question(item)}, response),
    "response stream": ("/v1/responses", lambda item: {"input": question(item), "stream": True}, response_streamed),
    "tool": ("/mcp", call, tool),
}
