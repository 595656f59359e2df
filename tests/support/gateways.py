"""Gateways with a few pages as the desk makes them, for tests of who may do what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from starlette.responses import JSONResponse

from tests.support.serving import ScriptedStream, Settled, TableLibrary, bench
from wbrag.core.config import load
from wbrag.serving.api.app import create_app
from wbrag.serving.auth import check_csrf, csrf_token, login, logout, principal, require
from wbrag.units.layout import Layout


def app_of(folder: Path, **serving: Any) -> FastAPI:
    """A gateway with a few pages as the desk makes them."""
    return with_pages(bench(folder, **serving).app)


def replica_of(folder: Path) -> FastAPI:
    """Another gateway over the same workspace."""
    layout = Layout(config=load(workspace=str(folder)))
    generator = ScriptedStream(lambda messages, sampling: "Ada Thorn")
    return with_pages(create_app(layout, TableLibrary(), generator, Settled(layout.releases.get("latest"))))


def with_pages(app: FastAPI) -> FastAPI:
    @app.post("/desk/login")
    async def enter(request: Request) -> JSONResponse:
        found = login(request, str((await request.form())["key"]))
        return JSONResponse({"name": found and found.name, "csrf": csrf_token(request)}, 200 if found else 401)

    @app.post("/desk/logout", dependencies=[Depends(check_csrf)])
    async def leave(request: Request) -> JSONResponse:
        logout(request)
        return JSONResponse({})

    @app.get("/desk/page")
    async def page(request: Request) -> JSONResponse:
        who = principal(request)
        return JSONResponse({"name": who.name, "role": who.role, "csrf": csrf_token(request)})

    @app.post("/desk/publish", dependencies=[Depends(check_csrf), Depends(require("admin"))])
    async def publish() -> JSONResponse:
        return JSONResponse({"published": True})

    return app
