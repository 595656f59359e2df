"""Review queue: the list of units, the page of one unit, and decisions over one or many.

A decision over a whole list is taken only where the list is as long as the reviewer saw it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wbrag.core.errors import UsageError, WbragError
from wbrag.serving.auth import Principal
from wbrag.serving.desk.highlights import reasons, sources, unit_pieces
from wbrag.serving.desk.pages import (
    VERBS,
    Desk,
    DeskRoute,
    NarrowedReader,
    NarrowedReviewer,
    Reviewer,
    inside,
    learned,
    render,
    say,
    sees,
    who_did,
)
from wbrag.serving.desk.usage import answers_with, questions_of
from wbrag.units.decisions import NEXT, STATES, State
from wbrag.units.governance import Governance

PAGE = 50  # units on one page of a list
WAITING: tuple[State, ...] = ("candidate", "stale")
NEEDS_A_REASON = ("rejected", "retired")
USUAL = ("Its sources do not say this.", "No longer true.", "Nobody asks for this.", "Another unit says it better.")


@dataclass(frozen=True)
class Filter:
    """Which units a list shows. `check`: any (""), "failed", "passed", "unchecked", or a check that failed."""

    state: str = "waiting"  # candidates and stale ones; or a state; or "all"
    check: str = ""
    q: str = ""
    page: int = 1

    def url(self, **change: Any) -> str:
        plain = {k: v for k, v in (asdict(self) | change).items() if v != _DEFAULTS.get(k)}
        return f"/desk?{urlencode(plain)}" if plain else "/desk"

    @staticmethod
    def read(query: Mapping[str, str]) -> Filter:
        """What is not understood reads as its default."""
        known = {k: query[k][:200] for k in ("state", "check", "q") if k in query}
        found = Filter(**known, page=int(page) if re.fullmatch("[0-9]{1,9}", page := query.get("page", "1")) else 1)
        return found if found.state in ("waiting", "all", *STATES) else replace(found, state="waiting")


_DEFAULTS = asdict(Filter()) | {"unit": ""}


def chosen(governance: Governance, by: Filter) -> list[str]:
    """The ids of units that `by` lets through; of those that wait, failed ones first, then stale ones."""
    states: dict[str, tuple[State, ...]] = {"waiting": WAITING, "all": STATES}
    waits = by.state == "waiting"
    return governance.select(states.get(by.state, (by.state,)), by.q, by.check, stale_first=waits)  # type: ignore[arg-type]


def queue_routes(desk: Desk) -> APIRouter:
    router = APIRouter(route_class=DeskRoute)

    @router.get("/desk")
    def queue(request: Request, who: NarrowedReader, unit: Annotated[str, Query()] = "") -> Response:
        by, governance = Filter.read(request.query_params), desk.governance_of(sees(request))
        ids = chosen(governance, by)
        pages = max(1, -(-len(ids) // PAGE))
        at = ids.index(unit) if unit in ids else (min(max(by.page, 1), pages) - 1) * PAGE
        by = replace(by, page=at // PAGE + 1)
        start = (by.page - 1) * PAGE
        counts = governance.counts()
        return render(
            request,
            "queue.html.j2",
            by=by,
            cards=governance.cards(ids[start : start + PAGE]),
            total=len(ids),
            pages=pages,
            start=start,
            at=at,
            opened=unit in ids,
            before=ids[at - 1] if at > 0 else "",
            after=ids[at + 1] if at + 1 < len(ids) else "",
            view=_view(desk, governance, ids[at], who) if ids else None,
            counts=counts,
            waiting=sum(counts[state] for state in WAITING),
            checks=governance.catalogue().failing(WAITING),
            NEXT=NEXT,
        )

    @router.get("/desk/units/{id}")
    def unit(request: Request, who: NarrowedReader, id: str) -> Response:
        narrowed = sees(request) is not None
        return render(
            request,
            "unit.html.j2",
            view=_view(desk, desk.governance_of(sees(request)), id, who),
            served=answers_with(desk.layout, id) if who.may("reviewer") and not narrowed else (),
            releases={r.id: r for r in desk.governance.releases()},
            can_correct=desk.correct is not None and not narrowed,  # it is compared with every unit
            NEXT=NEXT,
        )

    @router.post("/desk/units/{id}/edit")
    async def edit(
        request: Request,
        who: Reviewer,
        id: str,
        title: Annotated[str, Form(max_length=500)] = "",
        text: Annotated[str, Form(max_length=8000)] = "",
        why: Annotated[str, Form(max_length=2000)] = "",
    ) -> Response:
        if desk.correct is None:
            raise WbragError("expected a gateway that can embed a unit, found one that cannot: run `wbrag units edit`")
        try:
            if not why.strip():
                raise UsageError("expected a reason, found none: say what was wrong, for whoever reads the history")
            made = await request.app.state.background.finish(desk.correct(id, title, text, who_did(who), why.strip()))
        except WbragError as error:
            say(request, str(error), wrong=True)
            return RedirectResponse(f"/desk/units/{quote(id, safe='')}", 303)
        say(request, "Corrected: this unit takes the place of the old one, and waits like any other.", unit=id)
        return RedirectResponse(f"/desk/units/{made.id}", 303)

    @router.post("/desk/decide")
    def decide(
        request: Request,
        who: NarrowedReviewer,
        state: Annotated[State, Form()],
        ids: Annotated[list[str], Form()] = [],  # noqa: B006
        matching: Annotated[int, Form()] = 0,
        where: Annotated[str, Form()] = "",
        why: Annotated[str, Form(max_length=2000)] = "",
        back: Annotated[str, Form()] = "/desk",
    ) -> Response:
        governance = desk.governance_of(sees(request))
        try:
            if matching:
                ids = _all_that_match(governance, where, matching)
            steps = _decide(governance, ids, state, who_did(who), why.strip())
        except WbragError as error:
            say(request, str(error), wrong=True)
        else:
            say(request, *steps[:1], unit=steps[1])
        return RedirectResponse(inside(back), 303)

    return router


def _decide(governance: Governance, ids: Sequence[str], state: State, by: str, why: str) -> tuple[str, str]:
    """Decide, and say what was done; the unit is named where there was one."""
    ids = list(dict.fromkeys(ids))
    catalogue = governance.catalogue()
    if not ids:
        raise UsageError("expected at least one unit, found none: choose a unit, or select some with x")
    if not why and state in NEEDS_A_REASON:
        raise UsageError(f"expected a reason, found none: say why this is {state}, for whoever reads the history")
    if not why and state == "approved" and catalogue.flagged[catalogue.places(ids)].any():
        raise UsageError("expected a reason, found none: say why this is right although it failed a check")
    steps = governance.decide(ids, state, by=by, why=why)
    done = VERBS[state][1]
    if len(ids) == 1:
        [id], title = ids, catalogue.titles[int(catalogue.places(ids)[0])].as_py()
        return (f"{done} “{title[:80]}”." if steps else f"“{title[:80]}” is {state} already."), id
    already = f", {len(ids) - len(steps)} were so already" if len(steps) < len(ids) else ""
    return f"{done} {len(steps):,} units{already}.", ""


def _all_that_match(governance: Governance, where: str, expected: int) -> list[str]:
    """The ids that a filter lets through, if they are as many as the reader saw."""
    ids = chosen(governance, Filter.read(dict(parse_qsl(where.lstrip("?")))))
    if len(ids) != expected:
        raise WbragError(f"expected {expected:,} units, found {len(ids):,}: the list has changed, look at it again")
    return ids


def _view(desk: Desk, governance: Governance, id: str, who: Principal) -> dict[str, Any]:
    """What is told of a unit; what users asked, to reviewers alone, and no question to those who see a part."""
    page = governance.unit(id)
    card = page.card
    told = governance.allowed.groups is None and (who.may("reviewer") or not learned(card))
    results = sorted(card.examined.results, key=lambda c: c.passed) if card.examined else ()
    return {
        "page": page,
        "card": card,
        "unit": card.unit,
        "pieces": unit_pieces(card.unit.text, card.examined),
        "sources": sources(page),
        "questions": questions_of(desk.layout, card.unit) if told else [],
        "results": results,
        "reasons": reasons(card.examined, USUAL),
        "failed": card.examined is not None and not card.examined.passed,
    }
