"""Release pages: the list, publishing the next, comparing two, and rolling back.

A rollback is taken only where the newest release is still the one that the page showed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wbrag.core.errors import WbragError
from wbrag.core.metrics import Interval
from wbrag.core.types import Unit
from wbrag.evaluation.report.plots import forest
from wbrag.evaluation.report.story import Gain
from wbrag.serving.desk.pages import Admin, Desk, DeskRoute, Reader, render, say, who_did
from wbrag.units.decisions import Decision
from wbrag.units.governance import Difference, Governance
from wbrag.units.releases import Release

PAGE = 20  # releases on one page
SHOWN = 100  # units of each side of a comparison


@dataclass(frozen=True)
class CanaryPlot:
    """A release's canary report, drawn."""

    examples: str
    n: int
    before: float
    after: float
    passed: bool
    plot: Markup


@dataclass(frozen=True)
class Line:
    """A release in the list. `added` and `removed` are against its parent, None where files cannot be read."""

    release: Release
    added: int | None
    removed: int | None
    canary: CanaryPlot | None
    refused: str  # why it does not answer, "" where it may
    retriever: str  # "" for the encoder alone


@dataclass(frozen=True)
class Next:
    """What publishing would change, as far as it can be seen before the checks run."""

    added: int
    removed: int
    candidates: int  # that pass every check, which the policy `auto` approves
    unchecked: int


def release_routes(desk: Desk) -> APIRouter:
    router = APIRouter(route_class=DeskRoute)

    @router.get("/desk/releases")
    def releases(request: Request, who: Reader, page: Annotated[int, Query(ge=1, le=10**6)] = 1) -> Response:
        rows = desk.governance.releases()[::-1]
        pages = max(1, -(-len(rows) // PAGE))
        page = min(page, pages)
        return render(
            request,
            "releases.html.j2",
            lines=[_line(desk, row) for row in rows[(page - 1) * PAGE : page * PAGE]],
            all=rows,
            page=page,
            pages=pages,
            serving=desk.watcher.release,
            next=_next(desk.governance, rows[0] if rows else None),
            policy=desk.layout.config.checks.policy,
            can_publish=desk.publish is not None,
        )

    @router.post("/desk/releases/publish")
    async def publish(request: Request, who: Admin, note: Annotated[str, Form(max_length=500)] = "") -> Response:
        if desk.publish is None:
            raise WbragError("expected a gateway that can publish, found one that cannot: run `wbrag publish`")
        newest = (await run_in_threadpool(desk.governance.releases))[-1:]
        try:
            work = desk.publish(who_did(who), note.strip())
            made = await request.app.state.background.finish(work)  # also where the browser leaves
        except WbragError as error:
            say(request, str(error), wrong=True)
        else:
            same = bool(newest) and newest[0].id == made.id
            say(
                request,
                f"Nothing has changed since {made.id}." if same else f"Published {made.id}: {made.units:,} units.",
            )
        return RedirectResponse("/desk/releases", 303)

    @router.get("/desk/releases/compare")
    def compare(request: Request, who: Reader, before: str, after: str) -> Response:
        found = desk.governance.compare(before, after)
        all, retrievers = desk.governance.releases()[::-1], _retrievers(desk.governance, found)
        came, went = _shown(desk, found)
        return render(request, "compare.html.j2", found=found, retrievers=retrievers, all=all, came=came, went=went)

    @router.get("/desk/releases/{id}/rollback")
    def confirm(request: Request, who: Admin, id: str) -> Response:
        newest = desk.governance.releases()[-1:]
        found = desk.governance.compare(newest[0].id if newest else "none", id)
        came, went = _shown(desk, found)
        return render(
            request,
            "rollback.html.j2",
            found=found,
            retrievers=_retrievers(desk.governance, found),
            closed=_closed(desk.governance, found),
            came=came,
            went=went,
            SHOWN=SHOWN,
        )

    @router.post("/desk/releases/{id}/rollback")
    def rollback(
        request: Request,
        who: Admin,
        id: str,
        seen: Annotated[str, Form()],
        why: Annotated[str, Form(max_length=500)] = "",
    ) -> Response:
        rows = desk.governance.releases()
        if not rows:
            raise WbragError("expected a release to roll back from, found none: publish first")
        newest = rows[-1]
        if newest.id != seen:
            say(request, f"expected {seen} to be the newest release, found {newest.id}: look again", wrong=True)
            return RedirectResponse(f"/desk/releases/{id}/rollback", 303)
        made = desk.governance.rollback(id, by=who_did(who), why=why.strip())
        say(request, f"Rolled back: {made.id} answers as {id} did. It serves once it has been loaded.")
        return RedirectResponse("/desk/releases", 303)

    return router


def _closed(governance: Governance, found: Difference) -> list[tuple[str, Decision]]:
    """Titles of units that would come back although they were closed since, with the decision that closed them."""
    added = set(found.added)
    back = [d for d in governance.revived(found.after) if d.unit_id in added]
    ids, titles = governance.catalogue().among({d.unit_id for d in back})
    named = dict(zip(ids.to_pylist(), titles.to_pylist(), strict=True))
    return [(named[d.unit_id], d) for d in back if d.unit_id in named]


def _shown(desk: Desk, found: Difference) -> tuple[list[Unit], list[Unit]]:
    """The first of the units that came and went."""
    shelf = desk.layout.shelf
    return shelf.units(found.added[:SHOWN]), shelf.units(found.removed[:SHOWN])


def _line(desk: Desk, release: Release) -> Line:
    parents = {r.id: r for r in desk.governance.releases()}
    parent = parents.get(release.parent)
    added: int | None
    removed: int | None
    try:
        added, removed = desk.governance.changed(parent or desk.layout.release("none"), release)
    except (WbragError, OSError):  # files that were taken away
        added = removed = None
    refused, retriever = desk.watcher.refused.get(release.id, ""), desk.governance.retriever(release)
    return Line(release, added, removed, canary_of(release), refused, retriever)


def _retrievers(governance: Governance, found: Difference) -> tuple[str, str]:
    """Of both releases; both "" where they are the same."""
    before, after = (governance.retriever(release) for release in (found.before, found.after))
    alone = "the encoder alone"
    return ("", "") if before == after else (before or alone, after or alone)


def _next(governance: Governance, latest: Release | None) -> Next:
    found = governance.catalogue()
    passed = found.select(["candidate"], check="passed")
    passing, unchecked = int((~found.unbacked[passed]).sum()), len(found.select(["candidate"], check="unchecked"))
    return Next(*governance.unpublished(latest), passing, unchecked)


@lru_cache(maxsize=500)  # a plot takes some 30 ms
def canary_of(release: Release) -> CanaryPlot | None:
    """The report that was stored with a release; None where there is none, or none that can be read."""
    if not release.canary:
        return None
    try:
        found: dict[str, Any] = json.loads(release.canary)
        low, high = found["ci95"]
        gain = Gain(
            "canary",
            "Change against the release before",
            float(found["gain"]),
            Interval(float(low), float(high)),
            float(found["p"]),
            int(found["wins"]),
            int(found["losses"]),
        )
        numbers = (gain.gain, gain.p, *gain.ci95, before := float(found["before"]), after := float(found["after"]))
        if not all(math.isfinite(number) for number in numbers):
            return None
        examples, n, passed = str(found["examples"]), int(found["n"]), bool(found["passed"])
    except (KeyError, TypeError, ValueError):
        return None
    return CanaryPlot(examples, n, before, after, passed, forest([gain], f"canary-{release.id}", wide=False))
