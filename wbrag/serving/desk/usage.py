"""Usage pages: the work list, live counters, and what units were used for.

They only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
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
        tasks = desk.governance.tasks()
        groups = [(reason, list(group)) for reason, group in groupby(tasks, key=lambda task: task.reason)]
        return render(request, "review.html.j2", groups=groups, total=len(tasks), SHOWN=SHOWN)

    @router.get("/desk/usage")
    def usage(request: Request, who: Reader) -> Response:
        cards = desk.governance.cards()
        release = desk.watcher.release
        held = desk.governance.ids_in(release) if release else frozenset()
        used = sorted((card for card in cards if card.use.hits), key=lambda card: (-card.use.hits, card.unit.title))
        unused = [card for card in cards if card.unit.id in held and not card.use.hits]
        return render(
            request,
            "usage.html.j2",
            live=live(desk),
            used=used,
            unused=unused,
            held=len(held),
            release=release,
            SHOWN=SHOWN,
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
    newest = log.select(ds.field("request_id").isin(wanted)).sort_by([("at", "descending")]).to_pylist()
    ratings = layout.usage.ratings()
    return [row | {"feedback": ratings.get(row["request_id"])} for row in newest]
