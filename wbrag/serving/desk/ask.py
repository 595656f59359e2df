"""Question page: one question, answered with and without write-back, side by side.

Readers ask the release that serves; other releases are for reviewers.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from wbrag.core.errors import WbragError
from wbrag.core.types import Answer
from wbrag.serving.api import validation
from wbrag.serving.auth import Principal
from wbrag.serving.desk.pages import Desk, DeskRoute, NarrowedReader, Sees, render, sees


@dataclass(frozen=True)
class Side:
    """One of the two answers, or why there is none; `seconds` as the reader waited."""

    release: str
    answer: Answer | None
    problem: str
    seconds: float


def ask_routes(desk: Desk) -> APIRouter:
    router = APIRouter(route_class=DeskRoute)

    @router.get("/desk/ask")
    def form(request: Request, who: NarrowedReader, q: str = "") -> Response:
        return _page(request, desk, who, question=q[: desk.layout.config.serving.max_question_chars])

    @router.post("/desk/ask")
    async def ask(
        request: Request,
        who: NarrowedReader,
        question: Annotated[str, Form()],
        release: Annotated[str, Form()] = "",
        task: Annotated[str, Form()] = "",
    ) -> Response:
        settings = desk.layout.config.serving
        config = desk.layout.config
        task = validation.task_of(task or None, settings.methods[0], settings, config, "task")
        serving = desk.watcher.release.id if desk.watcher.release else "none"
        earlier = release not in ("", "none", serving)
        if earlier and (not who.may("reviewer") or sees(request) is not None):
            raise HTTPException(403, f"a reader asks the release that serves, {serving}: others are for reviewers")
        sides: tuple[Side, ...] = ()
        if question.strip():
            question, name = validation.question(question, "question", settings), release or serving
            sides = tuple(await asyncio.gather(*(_side(desk, question, r, task, who.sees) for r in ("none", name))))
        return await run_in_threadpool(
            _page, request, desk, who, question=question, release=release, task=task, sides=sides
        )

    return router


def _page(
    request: Request,
    desk: Desk,
    who: Principal,
    *,
    question: str,
    release: str = "",
    task: str = "",
    sides: tuple[Side, ...] = (),
) -> Response:
    ids = [frozenset(hit.id for hit in side.answer.hits) if side.answer else frozenset[str]() for side in sides]
    return render(
        request,
        "ask.html.j2",
        question=question,
        release=release,
        task=task,
        tasks=desk.layout.config.serving.tasks,
        longest=desk.layout.config.serving.max_question_chars,
        releases=desk.governance.releases()[::-1] if who.may("reviewer") and sees(request) is None else (),
        serving=desk.watcher.release,
        sides=sides,
        common=ids[0] & ids[1] if len(ids) == 2 else frozenset(),
    )


async def _side(desk: Desk, question: str, release: str, task: str, may_see: Sees) -> Side:
    start = time.perf_counter()
    try:
        answer: Answer | None = await desk.ask(question, release, task, may_see)
        problem = ""
    except WbragError as error:
        answer, problem = None, str(error)
    except HTTPException as error:  # refused as a client's request would be: busy, or still loading
        answer, problem = None, str(error.detail)
    return Side(release, answer, problem, time.perf_counter() - start)
