"""Embeddings: `POST /v1/embeddings`, the vectors of the release's encoder, for stores and tools beside wbrag."""

from __future__ import annotations

import base64

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from wbrag.serving.api import schemas, validation
from wbrag.serving.api.chat import READER
from wbrag.serving.api.disconnect import caller_of, run_until_disconnect
from wbrag.serving.api.middleware import add_log_fields
from wbrag.serving.auth import Principal
from wbrag.serving.errors import Refusal
from wbrag.serving.service import AnswerService

router = APIRouter(prefix="/v1")
MOST = 2048  # texts of one request, as OpenAI allows


@router.post("/embeddings", openapi_extra=schemas.takes(schemas.Embeddings))
async def embeddings(request: Request, who: Principal = READER) -> JSONResponse:
    """Unit vectors of texts as passages, or as queries where `input_type` says so; `encoding_format` as OpenAI's."""
    service: AnswerService = request.app.state.service
    caller = caller_of(request, who)
    asked = await schemas.read(request, schemas.Embeddings, service.settings.timeout_s)
    texts = [asked.input] if isinstance(asked.input, str) else list(asked.input)
    if not texts or len(texts) > MOST or not all(text.strip() for text in texts):
        message = f"input: expected 1 to {MOST} texts that are not empty, found {len(texts)}: correct it"
        raise Refusal(400, message, param="input")
    model = service.layout.config.encoder.model
    if asked.model not in (model, "encoder", validation.MODEL):
        message = f"expected the model encoder, found {asked.model[:80]!r}: choose it"
        raise Refusal(404, message, param="model", code="model_not_found")
    texts = [text.encode("utf-8", "replace").decode() for text in texts]  # half a surrogate pair is no character
    work = service.embed(texts, asked.input_type == "query", caller)
    vectors = (await run_until_disconnect(request, work)).astype("<f4")
    if asked.dimensions not in (None, vectors.shape[1]):
        message = f"dimensions: expected {vectors.shape[1]}, which this encoder has: leave it out"
        raise Refusal(400, message, param="dimensions")
    add_log_fields(request.scope, embedded=len(texts))
    return JSONResponse(
        {
            "object": "list",
            "model": model,
            "data": [
                {"object": "embedding", "index": n, "embedding": _written(vector, asked.encoding_format)}
                for n, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": 0, "total_tokens": 0},  # the encoder does not say
        }
    )


def _written(vector: np.ndarray, form: str | None) -> str | list[float]:
    if form == "base64":
        return base64.b64encode(vector.tobytes()).decode()
    found: list[float] = vector.tolist()
    return found
