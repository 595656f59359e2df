"""A small real HTTP server that speaks the OpenAI chat-completions format, and misbehaves by script."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

Body = dict[str, Any]
Reply = Callable[[list[dict[str, str]]], str]
STANDARD_FIELDS = {"model", "messages", "max_tokens", "temperature", "seed", "stop", "logprobs", "top_logprobs"}


@dataclass(frozen=True, slots=True)
class Step:
    """What the server does with one chat request."""

    kind: Literal["ok", "error", "raw", "hang", "cut", "reset", "drip"] = "ok"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    content_type: str = "application/json"


def ok() -> Step:
    return Step()


def error(status: int, message: str = "refused", **headers: str) -> Step:
    """An OpenAI-style error; `retry_after="3"` becomes the header `retry-after: 3`."""
    return Step("error", status, {name.replace("_", "-"): value for name, value in headers.items()}, message)


def raw(body: str, content_type: str = "application/json", status: int = 200) -> Step:
    """A body of any kind."""
    return Step("raw", status, body=body, content_type=content_type)


def hang() -> Step:
    """No answer until the server closes."""
    return Step("hang")


def cut() -> Step:
    """The connection closes in the middle of the body."""
    return Step("cut")


def reset() -> Step:
    """The connection is reset (TCP RST) in the middle of the body."""
    return Step("reset")


def drip() -> Step:
    """The answer byte by byte, one in 50 ms: no read ever times out."""
    return Step("drip")


@dataclass
class OpenAIServer:
    """`with OpenAIServer(reply=..., script=[...]) as server: server.url`, on 127.0.0.1 and a free port, or `port`.

    The n-th chat request gets the n-th step of `script`, and an ordinary answer once the script has ended. Words stand
    for tokens. `api_key`: others get a 401. `strict` refuses non-OpenAI fields, as OpenAI does. `vllm` answers
    `prompt_logprobs` and `return_token_ids`; `think` is what its chat template adds to the last assistant's turn.
    """

    reply: Reply = lambda messages: "ok"
    script: Sequence[Step] = ()
    models: Sequence[str] | None = ("tiny",)
    api_key: str | None = None
    logprobs: bool = True
    strict: bool = False
    vllm: bool = False
    think: str = ""
    delay_s: float = 0.0
    pause_s: float = 0.0  # between the words of a stream
    requests: list[Body] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    port: int = 0
    url: str = ""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        if not ready.wait(60):
            raise RuntimeError("the test server did not start within 60 s")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    def step(self, number: int, body: Body) -> Step:
        """What is done with the request of that number, counted from 0."""
        return self.script[number] if number < len(self.script) else ok()

    async def _serve(self, ready: threading.Event) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()
        await self._closing.wait()
        await runner.cleanup()

    async def _models(self, request: web.Request) -> web.StreamResponse:
        if self.models is None:
            return _error(404, "no such page")
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body: Body = await request.json()
        number = len(self.requests)
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay_s)
            return await self._act(self.step(number, body), request, body)
        finally:
            self.in_flight -= 1

    async def _act(self, step: Step, request: web.Request, body: Body) -> web.StreamResponse:
        if step.kind == "hang":
            await self._closing.wait()
        if step.kind == "error":
            return _error(step.status, step.body, headers=step.headers)
        if step.kind == "raw":
            return web.Response(text=step.body, content_type=step.content_type, status=step.status)
        if step.kind == "drip":
            return await self._drip(request, body)
        if step.kind == "cut" and body.get("stream"):
            return await self._stream(request, body, whole=False)
        if step.kind in ("cut", "reset"):
            kind = "text/event-stream" if body.get("stream") else "application/json"
            response = web.StreamResponse(headers={"content-length": "1000", "content-type": kind})
            await response.prepare(request)
            await response.write(b'{"id": "chatcmpl-1", "choi')
            assert request.transport is not None
            if step.kind == "reset":  # closing without lingering sends a reset
                sock = request.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.close()
            return response
        if (refusal := self._refusal(body)) is not None:
            return refusal
        return await self._stream(request, body) if body.get("stream") else web.json_response(self._completion(body))

    async def _drip(self, request: web.Request, body: Body) -> web.StreamResponse:
        """Whole but slow: JSON may begin with any number of spaces, a stream with any number of comments."""
        response = web.StreamResponse(headers={"content-type": "application/json"})
        if body.get("stream"):
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(200):
            await response.write(b": \n" if body.get("stream") else b" ")
            await asyncio.sleep(0.05)
        await response.write(json.dumps(self._completion(body)).encode())
        return response

    async def _stream(self, request: web.Request, body: Body, whole: bool = True) -> web.StreamResponse:
        """The answer word by word; without its end where it is not `whole`."""
        done = self._completion(body)
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        text = done["choices"][0]["message"]["content"]
        parts: list[Body] = [{"delta": {"content": piece}} for piece in re.findall(r"\s*\S+", text)]
        parts += [{"delta": {}, "finish_reason": "stop"}] if whole else []
        chunks: list[Body] = [{**head, "choices": [{"index": 0, "finish_reason": None, **part}]} for part in parts]
        if whole and (body.get("stream_options") or {}).get("include_usage"):
            chunks.append({**head, "choices": [], "usage": {**done["usage"], "total_tokens": 0}})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await asyncio.sleep(self.pause_s)
        if whole:
            await response.write(b"data: [DONE]\n\n")
        return response

    def _refusal(self, body: Body) -> web.StreamResponse | None:
        if self.api_key is not None and self.keys[-1] != self.api_key:
            return _error(401, f"Incorrect API key provided: {self.keys[-1]}", code="invalid_api_key")
        if self.models is not None and body["model"] not in self.models:
            return _error(404, f"The model `{body['model']}` does not exist.", code="model_not_found")
        if self.strict and (strange := sorted(set(body) - STANDARD_FIELDS)):
            return _error(400, f"Unrecognized request arguments supplied: {', '.join(strange)}")
        return None

    def _completion(self, body: Body) -> Body:
        text = self.reply(body["messages"])
        words = text.split()
        prompt = self._render(body)
        answer: Body = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": len(prompt), "completion_tokens": len(words)},
        }
        if body.get("logprobs") and self.logprobs:
            answer["choices"][0]["logprobs"] = {"content": [_logprob(word, body["top_logprobs"]) for word in words]}
        if self.vllm:
            if body.get("return_token_ids"):
                answer["prompt_token_ids"] = [token_id(word) for word in prompt]
            if "prompt_logprobs" in body:
                answer["prompt_logprobs"] = [None, *(_prompt_logprob(word) for word in prompt[1:])]
        return answer

    def _render(self, body: Body) -> list[str]:
        """The chat template: `<user> some words <assistant>`."""
        words: list[str] = []
        for message in body["messages"]:
            added = self.think.split() if message["role"] == "assistant" else []
            words += [f"<{message['role']}>", *added, *message["content"].split()]
        return words + ["<assistant>"] if body.get("add_generation_prompt", True) else words


def token_id(word: str) -> int:
    return zlib.crc32(word.encode()) % 50_000


def word_logprob(word: str) -> float:
    """The log-probability, in nats, that this server gives a word wherever it stands."""
    return -0.125 * (1 + token_id(word) % 8)


def _logprob(word: str, top: int) -> Body:
    others = [{"token": f"{word}{n}", "logprob": word_logprob(word) - n} for n in range(top)]
    return {"token": word, "logprob": word_logprob(word), "top_logprobs": others}


def _prompt_logprob(word: str) -> dict[str, Body]:
    return {str(token_id(word)): {"logprob": word_logprob(word), "rank": 1, "decoded_token": f" {word}"}}


def _error(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return web.json_response(body, status=status, headers=headers)
