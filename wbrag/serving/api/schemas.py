"""Wire schemas: requests as pydantic models, replies as OpenAI's clients read them.

https://platform.openai.com/docs/api-reference/chat. Fields that wbrag has no use for are ignored, as other servers of
this format do; those that would change the answer's form and cannot be met are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import from_json
from starlette.requests import Request

from wbrag.core import citations
from wbrag.core.types import Cost, Hit
from wbrag.serving.errors import Refusal

Body = dict[str, Any]
M = TypeVar("M", bound=BaseModel)
ABSURD_TOKENS = 1_000_000
Tokens = Annotated[int, Field(ge=1, le=ABSURD_TOKENS)]
# Its values are checked by `wbrag.core.allowed.checked_filter`.
Filter = Annotated[dict[str, Any] | None, Field(description='of metadata: {"lang": "de", "year": {"gte": 2019}}')]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class Exact(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Options(Exact):
    """`extra_body={"wbrag": {...}}`: how to answer, within what the operator allows."""

    method: str | None = None
    release: str | None = Field(None, description="latest, none (the base corpus alone), or an id")
    task: str | None = None
    top_k: int | None = Field(None, ge=1)
    filter: Filter = None


class Turn(Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Any = None


class StreamOptions(Lenient):
    include_usage: bool | None = None


class ResponseFormat(Lenient):
    type: Literal["text"] = Field(description="an answer is plain text")


class Chat(Lenient):
    """The last user message is the question; the task chat reads earlier turns and instructions too."""

    model: str = "wbrag"
    messages: list[Turn] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    response_format: ResponseFormat | None = None
    tool_choice: Literal["none", "auto"] | None = None
    top_p: float | None = Field(None, ge=0, le=1, description="checked, not used")
    presence_penalty: Penalty | None = Field(None, description="checked, not used")
    frequency_penalty: Penalty | None = Field(None, description="checked, not used")
    wbrag: Options | None = None


class TextFormat(Lenient):
    format: ResponseFormat | None = None


class Item(Lenient):
    """A turn of a conversation; items of other types (calls of tools, reasoning) are passed over."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Any = None


class Response(Lenient):
    """OpenAI's newer format: text in, text and citations out. Nothing is stored, so turns are sent each time."""

    model: str = "wbrag"
    input: str | list[Item]
    instructions: str | None = None
    stream: bool | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1, description="checked, not used")
    max_output_tokens: Tokens | None = None
    text: TextFormat | None = None
    tool_choice: Literal["none", "auto"] | None = None
    background: Literal[False] | None = None
    previous_response_id: None = Field(None, description="nothing is stored: send the turns themselves")
    conversation: None = Field(None, description="nothing is stored: send the turns themselves")
    metadata: dict[str, str] | None = None
    wbrag: Options | None = None


class Search(Exact):
    query: str
    k: int | None = Field(None, ge=1)
    release: str | None = None
    filter: Filter = None


class Embeddings(Lenient):
    """As OpenAI's; `input_type` as other servers of this format have it."""

    model: str = "encoder"
    input: str | list[str]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, description="checked: an encoder has one")
    input_type: Literal["query", "passage", "document"] | None = Field(None, description="default: passage")


class Thumb(Exact):
    """A user's word on the answer whose `wbrag` block has this `request_id`."""

    request_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")
    rating: Literal[1, -1]
    comment: str = Field("", max_length=2000)


async def read(request: Request, model: type[M], timeout_s: float) -> M:
    """The request's JSON body as a `model`; anything else is a 400 (415, 408) of one sentence."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "expected a body of content-type application/json: send that header")
    try:
        async with asyncio.timeout(timeout_s):
            raw = await request.body()
    except TimeoutError:
        raise Refusal(408, f"expected the whole body within {timeout_s:g} s: send it faster") from None
    try:
        found = from_json(raw, allow_inf_nan=False)  # bounded in depth; no NaN, no lone surrogates
    except ValueError as error:
        raise Refusal(400, f"expected a JSON body, found none ({str(error)[:200]}): correct it") from None
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(str(part) for part in first["loc"])[:200]
        raise Refusal(400, f"{param or 'body'}: {first['msg'].lower()}: correct it", param=param or None) from None


def takes(model: type[BaseModel]) -> Body:
    """What OpenAPI says of a route whose body is a `model`; the routes read bodies themselves, after the key."""
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def schemas() -> Body:
    """The models' JSON schemas, for OpenAPI's components."""
    wanted: list[Any] = [(model, "validation") for model in (Chat, Response, Search, Embeddings, Thumb)]
    _, found = models_json_schema(wanted, ref_template="#/components/schemas/{model}")
    return found["$defs"]


def hit(found: Hit, text: bool = False) -> Body:
    """One hit; `index` is `base` or `writeback`, `kind` says the same in words."""
    kind = "unit" if found.origin == "writeback" else "passage"
    shown = {"id": found.id, "kind": kind, "title": found.title, "origin": found.origin, "score": found.score}
    labels = {"metadata": dict(found.metadata)} if found.metadata else {}
    return shown | labels | found.how_found() | ({"text": found.text} if text else {})


def cited(hits: Sequence[Hit], content: str, prose: bool = False) -> list[Body]:
    """OpenAI's url_citation entries: of prose one for each number in it, else one a hit, for the whole answer."""
    spans = [(hit, 0, len(content)) for hit in hits]
    if prose:
        spans = [(hits[number - 1], start, end) for number, start, end in citations.cited(content)]
    return [
        {
            "type": "url_citation",
            "url_citation": {"start_index": start, "end_index": end, "title": hit.title, "url": citation(hit)},
        }
        for hit, start, end in spans
    ]


def citation(found: Hit) -> str:
    """A name for a unit or passage in the form of a URL."""
    return f"urn:wbrag:{'unit' if found.origin == 'writeback' else 'passage'}:{quote(found.id, safe='')}"


def usage(cost: Cost) -> Body:
    return {
        "prompt_tokens": cost.prompt_tokens,
        "completion_tokens": cost.output_tokens,
        "total_tokens": cost.prompt_tokens + cost.output_tokens,
    }


def chunk(head: Body, delta: Body, reason: str | None = None) -> Body:
    """One `chat.completion.chunk`; `head` holds its id, model and time."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return {**head, "object": "chat.completion.chunk", "choices": [choice]}
