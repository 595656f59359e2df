"""Streamed replies of the OpenAI-compatible client: chunks to `Completion` pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any

from wbrag.core.types import Completion
from wbrag.generators.openai_wire import counts, texts
from wbrag.generators.reasoning import AnswerFilter

DONE = b"[DONE]"


async def read_stream(
    chunks: AsyncIterable[Any], answer: AnswerFilter, whole: Callable[[], bool] = lambda: False
) -> AsyncGenerator[Completion]:
    """The pieces of a streamed answer, and at its end one without text that carries the counts.

    Raises `ValueError` where the stream ends without a finish reason and is not `whole` by its own word, and what
    `completion` raises.
    """
    reason, usage, thoughts = "", None, False
    async for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices or ():
            reason = choice.finish_reason or reason
            text, thinking = texts(choice.delta)
            thoughts = thoughts or bool(thinking)
            if shown := answer.add(text):
                yield Completion(shown, finish_reason="")
    if not reason and not whole():
        raise ValueError("the stream ended in the middle")
    if rest := answer.end(cut=reason == "length"):
        yield Completion(rest, finish_reason="")
    yield Completion("", *counts(usage), reason or "stop", thinking="…" if thoughts or answer.thought else "")


def ends_with_done(chunks: Any) -> Callable[[], bool]:
    """Watches what `chunks` are read from: whether the last that came says that the reply is whole."""
    response = getattr(chunks, "response", None)
    if response is None:
        return lambda: False
    read, tail = response.aiter_bytes, b""

    async def watched(chunk_size: int | None = None) -> AsyncIterator[bytes]:
        nonlocal tail
        async for part in read(chunk_size):
            tail = (tail + part)[-64:]
            yield part

    response.aiter_bytes = watched  # the SDK reads it here, and ends with and without the word alike
    return lambda: DONE in tail
