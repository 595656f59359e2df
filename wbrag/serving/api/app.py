"""Gateway: the FastAPI app over a retriever, a generator and the current release.

It knows nothing of Ray. `/healthz` answers at once, `/readyz` once the release and the model are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wbrag.core import tracing
from wbrag.core.sections import ServingConfig
from wbrag.core.types import Generator
from wbrag.serving import ReleaseRetriever, errors, logs
from wbrag.serving.api import chat, embeddings, responses, schemas, search
from wbrag.serving.api.front import ApiCors, Front
from wbrag.serving.api.mcp import PATH, McpEndpoint
from wbrag.serving.api.middleware import RequestMiddleware, add_log_fields
from wbrag.serving.auth import PAGES, Guard, in_pages, require
from wbrag.serving.background import Background
from wbrag.serving.keys import Keys, check_bind
from wbrag.serving.prometheus import age_s
from wbrag.serving.requests import CurrentRelease
from wbrag.serving.service import AnswerService
from wbrag.serving.sessions import SESSION_S, EndedSessions
from wbrag.units.labels import restricted
from wbrag.units.layout import Layout


def create_app(
    layout: Layout,
    retriever: ReleaseRetriever,
    generator: Generator,
    watcher: CurrentRelease,
    settings: ServingConfig | None = None,
) -> FastAPI:
    """The whole gateway but the pages, which add themselves; start and end come with the app's lifespan.

    On the state: `service` (the work), `guard` (who may), `background` (what outlives its request) and `page_error`,
    which the pages may set to a function of (request, status, sentence) that draws their errors. Raises `UsageError`
    for an open address without keys.
    """
    settings = settings or layout.config.serving
    guard = Guard(Keys(layout.path), EndedSessions(layout.path), settings.host, settings.https)
    check_bind(settings.host, settings.https, guard.keys)
    logs.setup()
    tracing.start(layout.config.tracing, "gateway")
    service = AnswerService(layout, retriever, generator, watcher, settings)
    app = FastAPI(
        title="wbrag", lifespan=_lifespan, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    app.state.service, app.state.guard, app.state.page_error = service, guard, None
    app.state.restricted = partial(restricted, layout)
    app.state.background = Background()
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_middleware(
        SessionMiddleware,
        secret_key=service.secret,
        session_cookie="wbrag_session",
        max_age=SESSION_S,
        https_only=settings.https,
    )
    if settings.cors_origins:
        app.add_middleware(ApiCors, origins=settings.cors_origins)
    app.add_middleware(Front, root_path=settings.root_path)
    app.add_middleware(
        RequestMiddleware,
        guard=guard,
        metrics=service.metrics,
        admission=service.admission,
        max_body_bytes=settings.max_body_bytes,
    )
    for router in (chat.router, responses.router, search.router, embeddings.router):
        app.include_router(router)
    app.state.mcp = McpEndpoint(service)
    app.router.routes.append(Route(PATH, app.state.mcp, methods=["GET", "POST", "DELETE"]))
    _add_operations(app, service)
    return app


async def drain(app: FastAPI) -> bool:
    """Take no new work and wait for what was begun, at most `drain_s`; False where that was not enough."""
    service: AnswerService = app.state.service
    clock, longest_s = asyncio.get_running_loop().time, service.settings.drain_s
    end = clock() + longest_s
    whole = await service.admission.drain(longest_s)
    return await app.state.background.ended(max(0.0, end - clock())) and whole


def startup_error(app: FastAPI) -> str:
    """What has kept it from being ready, in the operator's words; "" where nothing has failed so far."""
    service: AnswerService = app.state.service
    if not service.watcher.ready:
        return "; ".join(f"release {name}: {why}" for name, why in service.watcher.refused.items())
    return "" if service.health.up else service.health.error


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """`/healthz` answers at once; `/readyz` once the release and the model are there."""
    service: AnswerService = app.state.service
    service.health.start()
    service.recorder.start()
    loading = asyncio.create_task(service.watcher.start())
    try:
        async with app.state.mcp.running():
            yield
    finally:
        await drain(app)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await service.watcher.stop()
        await service.recorder.stop()
        await service.health.stop()
        await asyncio.to_thread(tracing.stop)


def _add_operations(app: FastAPI, service: AnswerService) -> None:
    """What machines ask: is it alive, is it ready, how is it doing, what can it do."""
    metrics, admission, recorder = service.metrics, service.admission, service.recorder
    watcher = service.watcher
    for name, help, read in (
        ("wbrag_queue_length", "Requests waiting for their turn", lambda: admission.waiting),
        ("wbrag_in_flight", "Requests at work", lambda: admission.working),
        ("wbrag_release_age_seconds", "Age of the release in use", lambda: age_s(watcher.release)),
        (
            "wbrag_release_number",
            "Number of the release in use",
            lambda: watcher.release.number if watcher.release else -1,
        ),
        ("wbrag_releases_refused", "Newer releases that failed their self-test", lambda: len(watcher.refused)),
        ("wbrag_ready", "1 where requests are taken", lambda: not _unready(service)),
        (
            "wbrag_usage_rows_waiting",
            "Usage rows not written yet",
            lambda: len(recorder.served.rows) + len(recorder.feedback.rows),
        ),
        ("wbrag_usage_rows_lost", "Usage rows given up", lambda: recorder.served.lost + recorder.feedback.lost),
    ):
        metrics.watch(name, help, read)

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        """The process is alive."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Requests are taken; 503 says why not."""
        why = _unready(service)
        return JSONResponse({"status": "not ready", "why": why}, 503) if why else JSONResponse({"status": "ok"})

    @app.get("/metrics", dependencies=[Depends(require("reader"))])
    async def exposition() -> Response:
        """Prometheus' text format."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/openapi.json", dependencies=[Depends(require("reader"))])
    async def openapi() -> JSONResponse:
        """This API, described."""
        routes = [route for route in app.routes if not getattr(route, "path", "").startswith(PAGES)]
        document = get_openapi(title="wbrag", version="1", routes=routes)
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas.schemas())
        return JSONResponse(document)


def _unready(service: AnswerService) -> str:
    """Why no request is taken, "" where they are."""
    if service.admission.draining:
        return "stopping"
    if not service.watcher.ready:
        return "the library is being loaded"
    return "" if service.health.up else "the model does not answer"


async def _misread(request: Request, error: Exception) -> Response:
    """A page's form or an address with a field that FastAPI could not read."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = str(first["loc"][-1])[:200]
    return await _refuse(request, errors.Refusal(400, f"{param}: {first['msg'].lower()}: correct it", param=param))


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message, _, code = errors.fields_of(error)
    add_log_fields(request.scope, error=code or message[:200])
    draw: Any = request.app.state.page_error
    if draw is not None and in_pages(request):
        page: Response = draw(request, error.status_code, message)
        return page
    return errors.response(error)
