"""Desk router: its pages, login, and static files.

Every form needs its CSRF token; static files are cached for good, under an address that changes with them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from wbrag.core.allowed import Allowed
from wbrag.serving.auth import check_csrf, login, logout
from wbrag.serving.desk.ask import ask_routes
from wbrag.serving.desk.pages import (
    STATIC,
    AskFunction,
    Correct,
    Counters,
    Desk,
    DeskRoute,
    Publish,
    colours,
    inside,
    render,
    say,
    static_version,
)
from wbrag.serving.desk.queue import queue_routes
from wbrag.serving.desk.releases import release_routes
from wbrag.serving.desk.usage import usage_routes
from wbrag.serving.requests import CurrentRelease
from wbrag.units.governance import Governance
from wbrag.units.layout import Layout

GROUPINGS = 16  # sets of groups whose lists are kept
IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable"}  # the address changes with the files


def desk_router(
    layout: Layout,
    watcher: CurrentRelease,
    *,
    ask: AskFunction,
    publish: Publish | None = None,
    counters: Counters | None = None,
    correct: Correct | None = None,
) -> APIRouter:
    """The pages below `/desk`. The app around them has `SessionMiddleware` and `app.state.guard`."""
    whole, narrowed = Governance(layout), lru_cache(GROUPINGS)(lambda groups: Governance(layout, Allowed(groups)))
    governance_of = lambda groups: whole if groups is None else narrowed(groups)  # noqa: E731
    desk = Desk(layout, whole, governance_of, watcher, ask, publish, counters, correct)
    router = APIRouter(dependencies=[Depends(check_csrf)], include_in_schema=False)
    for routes in (queue_routes(desk), release_routes(desk), ask_routes(desk), usage_routes(desk), login_routes()):
        router.include_router(routes)
    return router


def login_routes() -> APIRouter:
    router = APIRouter(route_class=DeskRoute)
    files = {file.name: file for file in STATIC.iterdir() if file.is_file()}

    @router.get("/desk/static/{version}/{name}")
    def static(version: str, name: str) -> Response:
        kept = IMMUTABLE if version == static_version() else None
        if name == "colours.css":
            return Response(colours(), media_type="text/css", headers=kept)
        if name not in files:
            raise HTTPException(404, f"the desk has no file {name!r}")
        return FileResponse(files[name], headers=kept)

    @router.get("/desk/login")
    def login_form(request: Request, back: str = "/desk") -> Response:
        if request.app.state.guard.open_to(request.client):
            return RedirectResponse("/desk", 303)
        return render(request, "login.html.j2", back=inside(back), wrong=False)

    @router.post("/desk/login")
    def log_in(
        request: Request, key: Annotated[str, Form(max_length=200)] = "", back: Annotated[str, Form()] = "/desk"
    ) -> Response:
        if login(request, key) is None:
            return render(request, "login.html.j2", status=401, back=inside(back), wrong=True)
        return RedirectResponse(inside(back), 303)

    @router.post("/desk/logout")
    def log_out(request: Request) -> Response:
        logout(request)
        say(request, "You are logged out.")
        return RedirectResponse("/desk/login", 303)

    return router
