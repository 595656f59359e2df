"""Chat completions: `POST /v1/chat/completions` and `GET /v1/models`, so that every OpenAI client works unchanged.

What fails before the first word of a stream is an ordinary error with its status, later it is an event in the stream.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wbrag.serving import errors
from wbrag.serving.api import schemas, validation
from wbrag.serving.api.disconnect import caller_of, run_until_disconnect
from wbrag.serving.api.middleware import add_log_fields
from wbrag.serving.api.streams import ALIVE, Events, Pieces
from wbrag.serving.auth import Principal, require
from wbrag.serving.requests import AnswerRequest, Reply
from wbrag.serving.service import AnswerService

READER = Depends(require("reader"))

router = APIRouter(prefix="/v1")


@router.get("/models")
@router.get("/models/")
async def models(request: Request, who: Principal = READER) -> JSONResponse:
    """The methods as models: `wbrag` for the operator's default, `wbrag/METHOD` for each one allowed."""
    names = validation.models(request.app.state.service.settings)
    return JSONResponse({"object": "list", "data": [_model(name) for name in names]})


@router.get("/models/{name:path}")
async def model(request: Request, name: str, who: Principal = READER) -> JSONResponse:
    settings = request.app.state.service.settings
    if name not in validation.models(settings):
        raise validation.unknown_model(name, settings)
    return JSONResponse(_model(name))


@router.post("/chat/completions", openapi_extra=schemas.takes(schemas.Chat))
async def chat(request: Request, who: Principal = READER) -> Response:
    """Answer the last user message; as server-sent events where `stream` is true."""
    service: AnswerService = request.app.state.service
    caller = caller_of(request, who)
    asked = await schemas.read(request, schemas.Chat, service.settings.timeout_s)
    ask = validation.answer_request(asked, service.settings, service.layout.config)
    if service.settings.record == "answers":
        add_log_fields(request.scope, question=ask.question)
    head = {"id": f"chatcmpl-{caller.answer_id}", "created": int(time.time()), "model": asked.model}
    if not asked.stream:
        reply = await run_until_disconnect(request, service.answer(ask, caller))
        return JSONResponse(_whole(request, head, ask, reply))
    pieces = await Pieces.of(request, lambda emit: service.answer(ask, caller, emit))
    counted = bool(asked.stream_options and asked.stream_options.include_usage)
    return Events(_events(request, pieces, head, ask, counted), pieces)


async def _events(
    request: Request,
    pieces: Pieces,
    head: schemas.Body,
    ask: AnswerRequest,
    counted: bool,
) -> AsyncGenerator[str, None]:
    """OpenAI's stream: a role at once, the text in pieces, then citations and counts, and `[DONE]`.

    While there is nothing to say a comment goes out now and then: proxies cut idle streams.
    """
    extra: schemas.Body = {"usage": None} if counted else {}  # as OpenAI does where usage is asked for
    yield _event(schemas.chunk(head, {"role": "assistant", "content": ""}) | extra)
    async with aclosing(pieces):
        try:
            while True:
                while not await pieces.wait():
                    yield ALIVE
                piece = pieces.take()
                if not isinstance(piece, str):
                    break
                yield _event(schemas.chunk(head, {"content": piece}) | extra)
        except HTTPException as error:  # the status is sent: the error goes where clients look for it in a stream
            message, param, code = errors.fields_of(error)
            add_log_fields(request.scope, error=code or error.status_code)
            yield _event(errors.body(error.status_code, message, param, code))
            return
    answer, block = piece.answer, block_of(request, ask, piece)
    citations = {"annotations": schemas.cited(answer.hits, answer.text, ask.talk is not None)}
    yield _event(schemas.chunk(head, citations, piece.finish_reason) | extra | {"wbrag": block})
    if counted:
        last = {**head, "object": "chat.completion.chunk", "choices": []}
        yield _event(last | {"usage": schemas.usage(answer.cost), "wbrag": block})
    yield "data: [DONE]\n\n"


def _event(body: schemas.Body) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'), allow_nan=False)}\n\n"


def _whole(request: Request, head: schemas.Body, ask: AnswerRequest, reply: Reply) -> schemas.Body:
    """A `chat.completion`."""
    answer = reply.answer
    message = {
        "role": "assistant",
        "content": answer.text,
        "refusal": None,
        "annotations": schemas.cited(answer.hits, answer.text, ask.talk is not None),
    }
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason, "logprobs": None}
    block = block_of(request, ask, reply)
    return {
        **head,
        "object": "chat.completion",
        "choices": [choice],
        "usage": schemas.usage(answer.cost),
        "wbrag": block,
    }


def block_of(request: Request, ask: AnswerRequest, reply: Reply) -> schemas.Body:
    """The `wbrag` block of a reply; what of it is not private goes into the log too."""
    cost, hits = reply.answer.cost, reply.answer.hits
    counts = {"prompt_tokens": cost.prompt_tokens, "output_tokens": cost.output_tokens}
    stages = {f"{stage}_s": round(seconds, 4) for stage, seconds in reply.seconds.items()}
    units = sum(hit.origin == "writeback" for hit in hits)
    add_log_fields(
        request.scope, release=reply.release.id, rag_method=ask.method, hits=len(hits), units=units, **counts, **stages
    )
    return {
        "request_id": request.scope["wbrag"]["answer_id"],
        "release": reply.release.id,
        "method": ask.method,
        "task": ask.task,
        **({"query": reply.query} if reply.query else {}),
        "hits": [schemas.hit(hit) for hit in hits],
        "cost": {"calls": cost.calls, "retrievals": cost.retrievals, **counts, "seconds": cost.seconds},
    }


def _model(name: str) -> schemas.Body:
    return {"id": name, "object": "model", "created": 0, "owned_by": "wbrag"}
