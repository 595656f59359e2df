"""Page rendering: the parts, templates, flash messages and error pages that all pages of the desk share.

Templates escape every text; a refusal is a page, or one plain sentence where htmx asks.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import ChoiceLoader, Environment, PackageLoader
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from wbrag.core.errors import DamagedTable, StoreError, UsageError, WbragError
from wbrag.core.types import Answer, Unit
from wbrag.evaluation.report import page as report
from wbrag.serving.api.front import prefix
from wbrag.serving.auth import SAFE_METHODS, Principal, csrf_token, principal, require
from wbrag.serving.requests import CurrentRelease
from wbrag.units.decisions import State
from wbrag.units.governance import Governance
from wbrag.units.layout import Layout
from wbrag.units.releases import Release
from wbrag.units.review import Card
from wbrag.units.stored import FROM_TRAFFIC, JUDGED

Sees = frozenset[str] | None  # groups whose documents may be shown, None for all
# question, name of the release ("none": base alone), task
AskFunction = Callable[[str, str, str, Sees], Awaitable[Answer]]
Publish = Callable[[str, str], Coroutine[Any, Any, Release]]  # by, note
Correct = Callable[[str, str, str, str, str], Coroutine[Any, Any, Unit]]  # id, title, text, by, why
Counters = Callable[[], Mapping[str, float]]

Reader = Annotated[Principal, Depends(require("reader"))]
NarrowedReader = Annotated[Principal, Depends(require("reader", narrows=True))]
NarrowedReviewer = Annotated[Principal, Depends(require("reviewer", narrows=True))]
Reviewer = Annotated[Principal, Depends(require("reviewer"))]
Admin = Annotated[Principal, Depends(require("admin"))]

STATIC = Path(__file__).parent / "static"
VERBS: Mapping[State, tuple[str, str]] = {  # what the button says, and what was done
    "approved": ("Approve", "Approved"),
    "rejected": ("Reject", "Rejected"),
    "retired": ("Retire", "Retired"),
    "candidate": ("Reopen", "Reopened"),
    "stale": ("Mark stale", "Marked stale"),
}


@dataclass(frozen=True)
class Desk:
    """What the pages work with; `publish`, `counters` and `correct` are None where the gateway has none."""

    layout: Layout
    governance: Governance
    governance_of: Callable[[Sees], Governance]
    watcher: CurrentRelease
    ask: AskFunction
    publish: Publish | None = None
    counters: Counters | None = None
    correct: Correct | None = None


LOGIN, BODY_S = "/desk/login", 15.0  # the longest that a form may take to arrive


class DeskRoute(APIRoute):
    """Answers what was refused with a page, or with one plain sentence where htmx asks."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def page(request: Request) -> Response:
            try:
                await _body(request)
                response = await handle(request)
            except HTTPException as error:
                response = refusal(request, error.status_code, str(error.detail))
            except RequestValidationError:
                response = refusal(request, 400, "this address or form has a value that the desk does not know")
            except WbragError as error:
                response = refusal(request, _status(error), str(error))
            return response

        return page


def _status(error: WbragError) -> int:
    if isinstance(error, (DamagedTable, StoreError)):
        return 503
    return 400 if isinstance(error, UsageError) else 404


async def _body(request: Request) -> None:
    """Read a form, once it is known that whoever sends it may, and not for ever: FastAPI reads it before it asks."""
    if request.method in SAFE_METHODS:
        return
    if request.url.path != LOGIN:
        principal(request)
    try:
        async with asyncio.timeout(BODY_S):
            await request.body()
    except TimeoutError:
        raise HTTPException(408, f"expected the whole form within {BODY_S:.0f} s: send it again") from None


def refusal(request: Request, status: int, why: str) -> Response:
    """A page that says why; who has not logged in is asked to."""
    if status == 401:
        login_page = f"/desk/login?back={quote(came_from(request), safe='')}"
        if is_htmx(request):
            return Response(status_code=401, headers={"hx-redirect": login_page})
        return RedirectResponse(login_page, 303)
    if is_htmx(request):
        return PlainTextResponse(why, status)
    return render(request, "refusal.html.j2", status=status, why=why)


def came_from(request: Request) -> str:
    """The page that the reader sees, as a path."""
    if is_htmx(request):
        return inside(request.headers.get("hx-current-url", ""))
    return inside(f"{request.url.path}?{request.url.query}") if request.method == "GET" else "/desk"


def inside(address: str) -> str:
    """The path and query of `address` where they lie on the desk, without a proxy's prefix; else the first page."""
    found = urlsplit(address.replace("\\", "/"))
    path = found.path.removeprefix(prefix())
    if path != "/desk" and not path.startswith("/desk/"):
        return "/desk"
    return f"{path}?{found.query}" if found.query else path


def is_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def say(request: Request, text: str, *, wrong: bool = False, unit: str = "") -> None:
    """A sentence for the next page, once; `unit` is linked."""
    request.session["said"] = {"text": text[:500], "wrong": wrong, "unit": unit}


def sees(request: Request) -> Sees:
    """What the page may show, as `require` has found."""
    return getattr(request.state, "sees", None)


def learned(card: Card) -> bool:
    """Whether the unit was learned from served answers: only a person approves it."""
    return FROM_TRAFFIC in card.unit.scores


def who_did(who: Principal) -> str:
    """The name that a decision is signed with."""
    return who.name or "localhost"


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """The page `template`, with who asks and what is to be said once."""
    who: Principal | None
    try:
        who = principal(request)
    except HTTPException:
        who = None
    common = {
        "who": who,
        "narrowed": sees(request) is not None,
        "csrf": csrf_token(request),
        "said": request.session.pop("said", None),
        "here": request.url.path,
        "version": static_version(),
    }
    html = templates().get_template(template).render(common | context)
    return HTMLResponse(html.lstrip(), status)


@cache
def templates() -> Environment:
    """The report's environment, which trusts no text, with the desk's templates before the report's."""
    made = report.environment()
    assert made.loader is not None
    made.loader = ChoiceLoader([PackageLoader("wbrag.serving.desk"), made.loader])
    made.filters.update(when=when, figure=figure, age=age)
    made.globals.update(VERBS=VERBS, prefix=prefix)
    made.tests["learned"] = learned
    made.tests["judged"] = lambda card: JUDGED in card.unit.scores
    return made


@cache
def colours() -> str:
    """The palette, which the report's pages use too."""
    return templates().get_template("colours.css.j2").render()


@cache
def static_version() -> str:
    """Changes with the files, so that browsers may keep them."""
    parts = [file.read_bytes() for file in sorted(STATIC.iterdir())]
    return hashlib.sha256(b"".join([*parts, colours().encode()])).hexdigest()[:12]


def when(at: str) -> str:
    """2026-11-22T04:27:16+00:00 -> 22 Nov 2026, 04:27"""
    try:
        return f"{datetime.fromisoformat(at).astimezone(UTC):%-d %b %Y, %H:%M}"
    except ValueError:
        return at


def figure(value: float) -> str:
    """A score as short as it can be said: 1, 0.7, 0.62, with a true minus sign."""
    return f"{value:.3f}".rstrip("0").rstrip(".").replace("-", "\N{MINUS SIGN}") or "0"


def age(seconds: float) -> str:
    """90 -> 1 min, 7200 -> 2 h, 172800 -> 2 days"""
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size * (2 if name == "days" else 1):
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} s"
