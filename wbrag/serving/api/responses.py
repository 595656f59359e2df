"""Responses: `POST /v1/responses`, OpenAI's newer wire format: text in, text and citations out, whole or as events.

https://platform.openai.com/docs/api-reference/responses. Nothing is stored: a conversation is sent each time.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import count
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import Response as Reply_

from wbrag.serving import errors
from wbrag.serving.api import schemas, validation
from wbrag.serving.api.chat import READER, block_of
from wbrag.serving.api.disconnect import caller_of, run_until_disconnect
from wbrag.serving.api.middleware import add_log_fields
from wbrag.serving.api.streams import ALIVE, Events, Pieces
from wbrag.serving.auth import Principal
from wbrag.serving.requests import AnswerRequest, Reply
from wbrag.serving.service import AnswerService

router = APIRouter(prefix="/v1")
MESSAGES = (None, "message")  # types of items that are turns


@router.post("/responses", openapi_extra=schemas.takes(schemas.Response))
async def responses(request: Request, who: Principal = READER) -> Reply_:
    """Answer the last turn; as events where `stream` is true."""
    service: AnswerService = request.app.state.service
    caller = caller_of(request, who)
    asked = await schemas.read(request, schemas.Response, service.settings.timeout_s)
    ask = validation.answer_request(_as_chat(asked), service.settings, service.layout.config)
    if service.settings.record == "answers":
        add_log_fields(request.scope, question=ask.question)
    head = _head(asked, caller.answer_id)
    if not asked.stream:
        reply = await run_until_disconnect(request, service.answer(ask, caller))
        return JSONResponse(_whole(request, head, ask, reply))
    pieces = await Pieces.of(request, lambda emit: service.answer(ask, caller, emit))
    return Events(_events(request, pieces, head, ask), pieces)


def _as_chat(asked: schemas.Response) -> schemas.Chat:
    """The same request in the other format."""
    items = [schemas.Item(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    turns = [{"role": "developer", "content": asked.instructions}] if asked.instructions else []
    turns += [{"role": i.role, "content": i.content} for i in items if i.type in MESSAGES and i.role]
    if not turns:
        raise errors.Refusal(400, "input: expected a message of a user, found none: add one", param="input")
    given = {"model": asked.model, "temperature": asked.temperature, "max_completion_tokens": asked.max_output_tokens}
    return schemas.Chat.model_validate({**given, "messages": turns, "wbrag": asked.wbrag}, strict=False)


def _head(asked: schemas.Response, answer_id: str) -> schemas.Body:
    """What of a response is known before there is an answer."""
    return {
        "id": f"resp_{answer_id}",
        "object": "response",
        "created_at": int(time.time()),
        "model": asked.model,
        "instructions": asked.instructions,
        "metadata": asked.metadata or {},
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "max_output_tokens": asked.max_output_tokens,
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "store": False,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
        "status": "in_progress",
    }


def _whole(request: Request, head: schemas.Body, ask: AnswerRequest, reply: Reply) -> schemas.Body:
    """A finished `response`."""
    answer, cost = reply.answer, reply.answer.cost
    cut = reply.finish_reason == "length"
    annotations = _annotations(ask, reply)
    return head | {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [_message(head, [_text(answer.text, annotations)], "incomplete" if cut else "completed")],
        "usage": {
            "input_tokens": cost.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": cost.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": cost.prompt_tokens + cost.output_tokens,
        },
        "wbrag": block_of(request, ask, reply),
    }


def _annotations(ask: AnswerRequest, reply: Reply) -> list[schemas.Body]:
    found = schemas.cited(reply.answer.hits, reply.answer.text, ask.talk is not None)
    return [{"type": "url_citation", **entry["url_citation"]} for entry in found]


def _message(head: schemas.Body, content: list[schemas.Body], status: str) -> schemas.Body:
    id = f"msg_{head['id'].removeprefix('resp_')}"
    return {"type": "message", "id": id, "role": "assistant", "status": status, "content": content}


def _text(text: str, annotations: list[schemas.Body]) -> schemas.Body:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


async def _events(
    request: Request, pieces: Pieces, head: schemas.Body, ask: AnswerRequest
) -> AsyncGenerator[str, None]:
    """The events of a response with one message of one text."""
    numbers = count()
    place: dict[str, Any] = {"item_id": _message(head, [], "")["id"], "output_index": 0, "content_index": 0}

    def event(kind: str, **fields: Any) -> str:
        body = {"type": kind, "sequence_number": next(numbers), **fields}
        return f"event: {kind}\ndata: {json.dumps(body, ensure_ascii=False, allow_nan=False)}\n\n"

    yield event("response.created", response=head)
    yield event("response.in_progress", response=head)
    yield event("response.output_item.added", output_index=0, item=_message(head, [], "in_progress"))
    yield event("response.content_part.added", **place, part=_text("", []))
    async with aclosing(pieces):
        try:
            while True:
                while not await pieces.wait():
                    yield ALIVE
                piece = pieces.take()
                if not isinstance(piece, str):
                    break
                yield event("response.output_text.delta", **place, delta=piece, logprobs=[])
        except HTTPException as error:
            message, _, code = errors.fields_of(error)
            add_log_fields(request.scope, error=code or error.status_code)
            failed = {"code": code or "server_error", "message": message}
            yield event("response.failed", response=head | {"status": "failed", "error": failed})
            return
    whole = _whole(request, head, ask, piece)
    [item] = whole["output"]
    [part] = item["content"]
    for number, annotation in enumerate(part["annotations"]):
        yield event("response.output_text.annotation.added", **place, annotation_index=number, annotation=annotation)
    yield event("response.output_text.done", **place, text=part["text"], logprobs=[])
    yield event("response.content_part.done", **place, part=part)
    yield event("response.output_item.done", output_index=0, item=item)
    yield event("response.incomplete" if whole["status"] == "incomplete" else "response.completed", response=whole)
