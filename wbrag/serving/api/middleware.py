"""Request middleware: request id, host check, body limit, security headers, metrics and the log line.

A request is counted and logged exactly once, whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wbrag.core import tracing
from wbrag.serving.admission import Admission
from wbrag.serving.auth import Guard, closed
from wbrag.serving.errors import CLIENT_CLOSED_REQUEST, Refusal, internal, response
from wbrag.serving.prometheus import Metrics

TRACED = re.compile(r"/(v1/[a-z/]+|mcp)$")
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, browsers send forms with `Origin: null`
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

log = logging.getLogger("wbrag.serving")


class ClientDisconnected(Exception):
    """The client hung up before its answer was there."""


def add_log_fields(scope: Scope, **fields: Any) -> None:
    """Add fields to the request's log line."""
    scope["wbrag"].update(fields)


class RequestMiddleware:
    """The outermost layer, as plain ASGI: a request is counted and logged once, whatever becomes of it."""

    def __init__(self, app: ASGIApp, guard: Guard, metrics: Metrics, admission: Admission, max_body_bytes: int) -> None:
        self.app, self.guard, self.metrics, self.admission = app, guard, metrics, admission
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with self.admission.responding():
            if not TRACED.search(scope["path"]):
                await self._respond(scope, receive, send)
                return
            parent = {"traceparent": Headers(scope=scope).get("traceparent", "")}
            with tracing.span(scope["method"], tracing.step("CHAIN"), "server", parent) as span:
                status = await self._respond(scope, receive, send)
                route = getattr(scope.get("route"), "path", "other")
                span.rename(f"{scope['method']} {route}")
                span.set({"http.request.method": scope["method"], "http.route": route})
                span.set({"http.response.status_code": status, "wbrag.request_id": scope["request_id"]})

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> int:
        """The status of what was sent."""
        start, headers = time.perf_counter(), Headers(scope=scope)
        given = headers.get("x-request-id", "")
        scope["request_id"] = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        scope["wbrag"] = {}
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _set_headers(MutableHeaders(scope=message), scope["request_id"], self.guard)
            await send(message)

        try:
            if refused := self._refusal(scope, headers):
                await response(refused)(scope, receive, sent)
            else:
                await self.app(scope, _limited(receive, self.max_body_bytes), sent)
        except (ClientDisconnected, ClientDisconnect, asyncio.CancelledError) as left:
            self.metrics.errors.labels("client_gone").inc()
            scope["wbrag"]["error"] = "client_gone"
            if isinstance(left, asyncio.CancelledError):  # a host that cancels requests itself
                raise
        except Exception:
            self.metrics.errors.labels("internal").inc()
            log.exception("error", extra={"fields": {"request_id": scope["request_id"]}})
            if not status:  # else the client sees the answer break off
                await internal(scope["request_id"])(scope, receive, sent)
        finally:
            self._report(scope, status or CLIENT_CLOSED_REQUEST, time.perf_counter() - start)
        return status or CLIENT_CLOSED_REQUEST

    def _refusal(self, scope: Scope, headers: Headers) -> HTTPException | None:
        if why := closed(self.guard, HTTPConnection(scope)):
            return Refusal(403, why)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self.max_body_bytes:
            return _too_large(self.max_body_bytes)
        return None

    def _report(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, str(status)).inc()
        fields: dict[str, Any] = {
            "request_id": scope["request_id"],
            "method": scope["method"],
            "path": scope["path"][:200],
        }
        fields |= {"status": status, "seconds": round(seconds, 4), **scope["wbrag"]}
        log.info("request", extra={"fields": fields})


def _set_headers(headers: MutableHeaders, request_id: str, guard: Guard) -> None:
    """Security headers on everything; what a page has set for itself (caching of static files) stays."""
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("cache-control", "no-store")
    if guard.https:
        headers.setdefault("strict-transport-security", "max-age=31536000")
    headers["x-request-id"] = request_id


def _limited(receive: Receive, most: int) -> Receive:
    """`receive`, counting: a body without an honest length is cut off at the same place."""
    got = 0

    async def counted() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise _too_large(most)
        return message

    return counted


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"expected a body of at most {most} bytes, found more: send less", code="too_large")
