"""Front: what proxies, probes and browsers ask of a gateway: HEAD, a path below which it lies, other origins.

A proxy that passes `/rag/` on as `/` says so by `X-Forwarded-Prefix`, or the operator by `serving.root_path`; a path
that still has the prefix is taken without it. Links and redirects of pages get it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){1,8}")
API = "/v1"  # below it pages of other origins may ask, where the operator names them
_prefix: ContextVar[str] = ContextVar("prefix", default="")


def prefix() -> str:
    """The path below which this request's client sees the gateway; "" for the root."""
    return _prefix.get()


class Front:
    """A HEAD is answered as its GET, without the body; paths come without the prefix, redirects go with it."""

    def __init__(self, app: ASGIApp, root_path: str = "") -> None:
        self.app, self.root_path = app, root_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
        mine = self.root_path or (given if PREFIX.fullmatch(given) and ".." not in given else "")
        path, method = scope["path"], scope["method"]
        if mine and (path == mine or path.startswith(f"{mine}/")):
            scope["path"] = path[len(mine) :] or "/"
        scope["method"] = "GET" if method == "HEAD" else method
        token = _prefix.set(mine)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and mine:
                _below(MutableHeaders(scope=message), mine)
            if message["type"] == "http.response.body" and method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(scope, receive, sent)
        finally:
            scope["method"] = method  # as the log line has it
            _prefix.reset(token)


def _below(headers: MutableHeaders, mine: str) -> None:
    for name in ("location", "hx-redirect"):
        if (target := headers.get(name, "")).startswith("/") and not target.startswith("//"):
            headers[name] = mine + target


class ApiCors:
    """Pages of these origins may ask the API, and nothing else; by a key that they send, never by a cookie."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self.app = app
        self.cors = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "HEAD", "OPTIONS"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
            max_age=600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        within = scope["type"] == "http" and (scope["path"] == API or scope["path"].startswith(f"{API}/"))
        await (self.cors if within else self.app)(scope, receive, send)
