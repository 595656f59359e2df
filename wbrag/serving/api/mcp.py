"""MCP server: the library as tools of an agent (`search`, `ask`, `unit`), over HTTP at `/mcp` and over stdio.

https://modelcontextprotocol.io. Over HTTP a key is asked for as anywhere, and limits are those of the API; over stdio
the workspace is read by the user who runs `wbrag mcp`. No session is kept, so that any gateway may answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import wraps
from importlib.metadata import version
from typing import Annotated, Any, ParamSpec, Protocol, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from wbrag.core import citations
from wbrag.core.allowed import Allowed
from wbrag.core.errors import WbragError
from wbrag.core.types import Answer, Hit
from wbrag.serving import errors
from wbrag.serving.api import schemas, validation
from wbrag.serving.api.disconnect import caller_of, run_until_disconnect
from wbrag.serving.auth import Principal, principal
from wbrag.serving.requests import Caller
from wbrag.serving.service import AnswerService
from wbrag.units.catalogue import no_unit
from wbrag.units.governance import Governance, UnitPage
from wbrag.units.labels import access_of_unit
from wbrag.units.layout import Layout

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
HowMany = Annotated[int | None, Field(description="5 say; more than the operator allows is refused")]
PATH = "/mcp"
ABOUT = (
    "A library of documents, and of short units distilled from those that helped to answer questions. Use `search` to "
    "read documents yourself, `ask` for an answer with citations, `unit` for where a unit comes from."
)


class Document(BaseModel):
    """A hit, with its text."""

    id: str
    kind: str = Field(description="passage, or unit: distilled from passages that helped")
    title: str
    text: str
    score: float


class Answered(BaseModel):
    text: str = Field(description="with the numbers of the documents that it rests on in square brackets")
    documents: list[Document] = Field(description="in the order of their numbers, from 1")
    cited: list[int]
    release: str


class Source(BaseModel):
    id: str
    title: str = Field(description="as the corpus has it now; empty where it is gone")
    unchanged: bool


class Distilled(BaseModel):
    """A unit and where it comes from."""

    id: str
    title: str
    text: str
    state: str
    sources: list[Source]
    evidence: list[str] = Field(description="sentences of the sources that it rests on")
    releases: list[str]


class Tools(Protocol):
    """What the tools ask; raises `WbragError` or an `HTTPException` with what is wrong."""

    async def search(self, query: str, k: int | None, filter: dict[str, Any] | None) -> list[Hit]: ...

    async def ask(self, question: str, filter: dict[str, Any] | None) -> tuple[str, Sequence[Hit], str]: ...

    async def unit(self, id: str) -> UnitPage: ...


def server(tools: Tools) -> MCPServer[Any]:
    """The tools, to be run over any transport."""
    made: MCPServer[Any] = MCPServer("wbrag", instructions=ABOUT, version=version("wbrag"), log_level="WARNING")

    @_told
    async def search(query: str, k: HowMany = None, filter: schemas.Filter = None) -> list[Document]:
        """Find the documents nearest to a query, with their texts."""
        return [_document(hit) for hit in await tools.search(query, k, filter)]

    @_told
    async def ask(question: str, filter: schemas.Filter = None) -> Answered:
        """Answer a question from the library, with citations."""
        text, hits, release = await tools.ask(question, filter)
        numbers = list(dict.fromkeys(number for number, _, _ in citations.cited(text)))
        return Answered(text=text, documents=list(map(_document, hits)), cited=numbers, release=release)

    @_told
    async def unit(id: str) -> Distilled:
        """Look at a distilled unit (wb-...): its sources, evidence and releases."""
        return _distilled(await tools.unit(id))

    for tool in (search, ask, unit):
        made.add_tool(tool)
    return made


def _told(tool: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """What fails is told to the agent in its sentence."""

    @wraps(tool)
    async def telling(*args: P.args, **named: P.kwargs) -> T:
        try:
            return await tool(*args, **named)
        except HTTPException as error:
            raise ToolError(errors.fields_of(error)[0]) from None
        except WbragError as error:
            raise ToolError(str(error)) from None

    return telling


def _document(hit: Hit) -> Document:
    kind = "unit" if hit.origin == "writeback" else "passage"
    return Document(id=hit.id, kind=kind, title=hit.title, text=hit.text, score=round(hit.score, 6))


def _distilled(page: UnitPage) -> Distilled:
    unit = page.card.unit
    sources = [
        Source(id=id, title=passage.title if passage else "", unchanged=unchanged)
        for (id, _), (passage, unchanged) in zip(unit.sources, page.sources, strict=True)
    ]
    evidence = [one.sentence for one in unit.evidence]
    return Distilled(
        id=unit.id,
        title=unit.title,
        text=unit.text,
        state=page.card.state,
        sources=sources,
        evidence=evidence,
        releases=list(page.releases),
    )


# -- over HTTP --------------------------------------------------------------------------------------------------------

_asks: ContextVar[tuple[Principal, Caller]] = ContextVar("asks")


class GatewayTools:
    """The tools over the gateway's service: the same admission, deadline, release and usage rows as the API."""

    def __init__(self, service: AnswerService) -> None:
        self.service, self.governance = service, Governance(service.layout)

    async def search(self, query: str, k: int | None, filter: dict[str, Any] | None) -> list[Hit]:
        s, c = self.service.settings, self.service.layout.config
        asked, many = validation.question(query, "query", s), validation.hits(k, "k", s, c)
        narrowed = validation.filter_of(filter, "filter")
        return (await self.service.search(asked, many, None, _asks.get()[1], narrowed))[0]

    async def ask(self, question: str, filter: dict[str, Any] | None) -> tuple[str, Sequence[Hit], str]:
        s, c = self.service.settings, self.service.layout.config
        asked = validation.plain_question(question, s, c, filter)
        reply = await self.service.answer(asked, _asks.get()[1])
        return reply.answer.text, reply.answer.hits, reply.release.id

    async def unit(self, id: str) -> UnitPage:
        return await asyncio.to_thread(self._unit, id, Allowed(_asks.get()[1].sees))

    def _unit(self, id: str, allowed: Allowed) -> UnitPage:
        """One that may not be seen is as good as none."""
        page = self.governance.unit(id)
        if allowed.groups is None:
            return page
        if not allowed.may(access_of_unit(self.service.layout, page.card.unit)):
            raise no_unit(id)
        return page.alone()


class McpEndpoint:
    """The ASGI app at `/mcp`; `running` is its life."""

    def __init__(self, service: AnswerService) -> None:
        self.service = service
        self.manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        made = server(GatewayTools(self.service))
        made.streamable_http_app(stateless_http=True, json_response=True, host="0.0.0.0")  # who may ask, the guard says
        self.manager = manager = made.session_manager
        async with manager.run():
            yield
        self.manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        who = principal(request)
        if self.manager is None:
            raise errors.Refusal(503, "the tools are being started: ask again", code="not_ready", retry_after=5)
        token = _asks.set((who, caller_of(request, who)))
        parts = [{"type": "http.request", "body": await request.body()}]

        async def again() -> Any:
            """The body, which was read; that the client leaves is listened for here, not by the manager."""
            return parts.pop() if parts else await asyncio.Event().wait()

        try:
            await run_until_disconnect(request, self.manager.handle_request(scope, again, send))
        finally:
            _asks.reset(token)


# -- over stdio -------------------------------------------------------------------------------------------------------


class WorkspaceTools:
    """The tools over a workspace in this process, one at a time: its models are loaded when they are first needed."""

    def __init__(self, library: LocalLibrary) -> None:
        self.library, self.governance = library, Governance(library.layout)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mcp")

    async def search(self, query: str, k: int | None, filter: dict[str, Any] | None) -> list[Hit]:
        many = k or self.library.layout.config.retrieval.top_k
        return await self._run(lambda: self.library.search(query, many, filter=filter))

    async def ask(self, question: str, filter: dict[str, Any] | None) -> tuple[str, Sequence[Hit], str]:
        layout = self.library.layout
        release = await self._run(lambda: layout.release(layout.default_release(None)))
        answer = await self._run(lambda: self.library.ask(question, filter=filter))
        return answer.text, answer.hits, release.id

    async def unit(self, id: str) -> UnitPage:
        return await self._run(lambda: self.governance.unit(id))

    async def _run(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class LocalLibrary(Protocol):
    """What of a workspace is asked; `wbrag.workspace.Workspace` is one."""

    layout: Layout

    def search(self, question: str, k: int, *, filter: Mapping[str, Any] | None = None) -> list[Hit]: ...

    def ask(self, question: str, *, filter: Mapping[str, Any] | None = None) -> Answer: ...


def over_stdio(library: LocalLibrary) -> None:
    """Serve the tools until stdin ends. What libraries print goes to stderr: stdout is the protocol's."""
    server(WorkspaceTools(library)).run("stdio")
