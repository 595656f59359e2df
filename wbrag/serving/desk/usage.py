"""Usage pages: the work list, live counters, and what units were used for.

They only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from wbrag.core.io.files import listed
from wbrag.core.io.parquet import rows_with_ids
from wbrag.core.types import Unit
from wbrag.serving.desk.pages import Desk, DeskRoute, Reader, render
from wbrag.units.layout import Layout

SHOWN = 30  # lines of each list


def usage_routes(desk: Desk) -> APIRouter:
    router = APIRouter(route_class=DeskRoute)

    @router.get("/desk/review")
    def review(request: Request, who: Reader) -> Response:
        work = desk.governance.work()
        groups = [(why, len(ids), desk.governance.work_items(why, ids[:SHOWN])) for why, ids in work.items()]
        return render(request, "review.html.j2", groups=groups, total=sum(map(len, work.values())))

    @router.get("/desk/usage")
    def usage(request: Request, who: Reader) -> Response:
        release = desk.watcher.release
        used, unused = desk.governance.used(), desk.governance.unused(release) if release else []
        return render(
            request,
            "usage.html.j2",
            live=live(desk),
            used=desk.governance.cards(used[:SHOWN]),
            used_count=len(used),
            unused=desk.governance.cards(unused[:SHOWN]),
            unused_count=len(unused),
            held=release.units if release else 0,
            release=release,
        )

    @router.get("/desk/usage/live")
    def counters(request: Request, who: Reader) -> Response:
        return render(request, "live.html.j2", live=live(desk))

    return router


def live(desk: Desk) -> Mapping[str, float] | None:
    """The gateway's counters; None where it has none."""
    return desk.counters() if desk.counters else None


def questions_of(layout: Layout, unit: Unit) -> list[str]:
    """The labelled questions that a unit was written for, as the run that wrote it kept them."""
    files = listed(layout.path / "verdicts" / unit.config_fingerprint, "*.parquet") if unit.config_fingerprint else []
    if not files:
        return []
    rows = rows_with_ids(files, unit.question_ids, ["question"])
    return sorted(set(rows["question"].to_pylist()))


def answers_with(layout: Layout, id: str, count: int = 10) -> list[dict[str, Any]]:
    """The newest served answers that had unit `id` among their hits, newest first, each with its `feedback`."""
    log = layout.usage.answers
    hits = log.table(["request_id", "at", "hit_ids"])
    inside = pc.equal(pc.list_flatten(hits["hit_ids"]), id)
    holding = hits.take(pc.unique(pc.list_parent_indices(hits["hit_ids"]).filter(inside)))
    wanted = holding.sort_by([("at", "descending")]).slice(0, count)["request_id"].to_pylist()
    if not wanted:
        return []
    newest = log.select("request_id", wanted).sort_by([("at", "descending")]).to_pylist()
    ratings = layout.usage.ratings()
    return [row | {"feedback": ratings.get(row["request_id"])} for row in newest]
