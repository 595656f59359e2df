"""Search and feedback: `POST /v1/search` and `POST /v1/feedback`.

A search passes the same admission and limits as an answer; the last feedback on a request counts.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from wbrag.serving.api import schemas, validation
from wbrag.serving.api.chat import READER
from wbrag.serving.api.disconnect import caller_of, run_until_disconnect
from wbrag.serving.api.middleware import add_log_fields
from wbrag.serving.auth import Principal
from wbrag.serving.service import AnswerService

router = APIRouter(prefix="/v1")


@router.post("/search", openapi_extra=schemas.takes(schemas.Search))
async def search(request: Request, who: Principal = READER) -> JSONResponse:
    """The best hits of a query with their texts, from base and write-back index."""
    service: AnswerService = request.app.state.service
    settings, config = service.settings, service.layout.config
    caller = caller_of(request, who)
    asked = await schemas.read(request, schemas.Search, settings.timeout_s)
    query = validation.question(asked.query, "query", settings)
    k = validation.hits(asked.k, "k", settings, config)
    name = validation.release(asked.release, "release", settings)
    narrowed = validation.filter_of(asked.filter, "filter")
    hits, release = await run_until_disconnect(request, service.search(query, k, name, caller, narrowed))
    add_log_fields(request.scope, release=release.id, hits=len(hits))
    found = [schemas.hit(hit, text=True) for hit in hits]
    return JSONResponse({"request_id": caller.answer_id, "release": release.id, "hits": found})


@router.post("/feedback", openapi_extra=schemas.takes(schemas.Thumb))
async def feedback(request: Request, who: Principal = READER) -> JSONResponse:
    """A thumb up (1) or down (-1) for an answer; the last word on a request counts."""
    service: AnswerService = request.app.state.service
    add_log_fields(request.scope, by=who.name)
    thumb = await schemas.read(request, schemas.Thumb, service.settings.timeout_s)
    service.rate(thumb.request_id, thumb.rating, thumb.comment, who.name)
    add_log_fields(request.scope, rated=thumb.request_id, rating=thumb.rating)
    return JSONResponse({"request_id": thumb.request_id, "rating": thumb.rating})
