"""Authentication: bearer keys for the API, a signed session for the pages, CSRF tokens for their forms.

Without keys the gateway is open to the user who runs it, on this machine alone: then who comes from a loopback address,
straight and by a program of that user, is an admin, whatever address the host has bound. A request that a proxy handed
on is refused, and the `Host` header must name a loopback address, because a foreign page that lets its own name point
to 127.0.0.1 (DNS rebinding) cannot forge it.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

from wbrag.serving import peers
from wbrag.serving.keys import ROLES, Key, Keys, Role, is_loopback
from wbrag.serving.sessions import SESSION_S, EndedSessions, new_id

PAGES = "/desk"  # below it a session counts; everywhere else only a bearer key does
PROBES = ("/healthz", "/readyz")  # tell nothing, and whoever supervises asks them
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Principal:
    """Who asks: the name of the key, "" on an open loopback, and the groups whose documents they see, None for all."""

    name: str
    role: Role
    sees: frozenset[str] | None

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Guard:
    """The keys of the workspace and the address served; `create_app` puts it at `app.state.guard`."""

    keys: Keys
    ended: EndedSessions
    host: str
    https: bool = False

    @property
    def open(self) -> bool:
        """Whether no key is needed; where keys were seen once, one is, until the gateway starts again."""
        return is_loopback(self.host) and not self.https and not self.keys.all() and not self.keys.known

    def open_to(self, client: tuple[str, int] | None) -> bool:
        """Whether this peer needs no key. Ray's proxy hands on the peer that it sees; an unknown one needs a key."""
        return self.open and client is not None and is_loopback(client[0])


def principal(request: Request) -> Principal:
    """Who asks; 401 where that cannot be told."""
    guard: Guard = request.app.state.guard
    if guard.open_to(request.client):
        return Principal("", "admin", None)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    key: Key | None = None
    if scheme.lower() == "bearer" and token:
        key = guard.keys.find(token.strip())
    elif in_pages(request):
        key = _key_of_session(request, guard)
    if key is None:
        raise HTTPException(
            401, "a key is needed: send the header Authorization: Bearer KEY", {"www-authenticate": "Bearer"}
        )
    return Principal(key.name, key.role, key.sees)


def _key_of_session(request: Request, guard: Guard) -> Key | None:
    """The key that opened the session; None where it has ended. A cookie is signed again whenever it changes."""
    mark, id, at = (request.session.get(name) for name in ("key", "id", "at"))
    if not (isinstance(mark, str) and isinstance(id, str) and isinstance(at, float)):
        return None
    ended = id in guard.ended or time.time() - at > SESSION_S
    return None if ended else guard.keys.of_digest(mark)


def require(role: Role, *, narrows: bool = False) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: the principal, who must have `role` or a higher one; 401 or 403 otherwise.

    A page is for those who see every document, unless it `narrows` itself to what `request.state.sees` may see.
    """

    async def allowed(request: Request) -> Principal:
        who = principal(request)
        if not who.may(role):
            raise HTTPException(403, f"this needs a key of the role {role}, and yours is a {who.role}")
        if in_pages(request) and who.sees is not None and await asyncio.to_thread(request.app.state.restricted):
            request.state.sees = who.sees
            if not narrows:
                message = "this page tells of every document, and some are for certain groups"
                raise HTTPException(403, f"{message}: it needs a key of all groups")
        return who

    return allowed


def login(request: Request, token: str) -> Principal | None:
    """Open a session for the holder of a key; None for a wrong one. Guessing 256 random bits needs no throttle."""
    key = request.app.state.guard.keys.find(token.strip())
    if key is None:
        return None
    request.session.clear()  # the CSRF token of before the login dies with it
    request.session.update({"key": key.sha256, "id": new_id(), "at": time.time()})
    return Principal(key.name, key.role, key.sees)


def logout(request: Request) -> None:
    """End the session for good: a copy of its cookie opens nothing either."""
    if isinstance(id := request.session.get("id"), str):
        request.app.state.guard.ended.end(id)
    request.session.clear()


def csrf_token(request: Request) -> str:
    """The session's token: every form carries it as the field `csrf`, or a script as the header `x-csrf-token`."""
    if not isinstance(request.session.get("csrf"), str):
        request.session["csrf"] = secrets.token_urlsafe(32)
    return str(request.session["csrf"])


async def check_csrf(request: Request) -> None:
    """A dependency: 403 for a change that was not sent from a page of ours. GET and HEAD pass."""
    if request.method in SAFE_METHODS:
        return
    if not _same_origin(request):
        raise HTTPException(403, "this came from another site's page: use the desk's own pages")
    sent = request.headers.get("x-csrf-token")
    if sent is None:
        field = (await request.form()).get("csrf")
        sent = field if isinstance(field, str) else ""
    known = request.session.get("csrf")
    if not isinstance(known, str) or not hmac.compare_digest(sent.encode(errors="replace"), known.encode()):
        raise HTTPException(403, "this page's form has expired: load the page again")


def in_pages(request: Request) -> bool:
    return request.url.path == PAGES or request.url.path.startswith(f"{PAGES}/")


def closed(guard: Guard, request: HTTPConnection) -> str:
    """Why a gateway without keys does not answer a request, in one sentence; "" where it does, and where keys are."""
    if not guard.open:
        return ""
    if not _names_loopback(request.headers.get("host", "")):
        return "without keys this answers to localhost alone: use that name, or set keys"
    if request.url.path in PROBES:
        return ""
    if by := peers.proxied(request.headers.keys(), request.scope.get("http_version", "1.1")):
        return f"without keys nobody is answered through a proxy, and this came through one ({by}): set keys"
    client = request.client
    if client and is_loopback(client.host) and peers.foreign(client, request.scope.get("server")):
        return "without keys this answers to the user who runs it, and this came from a program of another: set keys"
    return ""


def _names_loopback(host: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _same_origin(request: Request) -> bool:
    """As the browser says it; a client that says nothing is no browser, and needs the token all the same."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
