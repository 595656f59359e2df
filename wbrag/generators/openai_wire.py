"""Request and response mapping of the OpenAI-compatible client: prompts to JSON, replies to `Completion`s.

A reply without what was asked for raises AttributeError, IndexError, KeyError, TypeError or ValueError.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any
from urllib.parse import urlsplit

from wbrag.core.errors import UsageError
from wbrag.core.types import Completion, Messages


def checked_url(base_url: str) -> str:
    """The URL without its last slash. Raises `UsageError` where it is none, or holds what must not be shown."""
    parts = urlsplit(base_url)
    if parts.username or parts.password or parts.query:
        raise UsageError("base_url must hold no user, password or query: put the key into the environment variable")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"base_url must look like http://host:8000/v1, found {base_url!r}")
    return base_url.rstrip("/")


def chat_messages(turns: Messages) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def completion(reply: Any) -> Completion:
    """Raises AttributeError, IndexError, TypeError or ValueError on a malformed reply."""
    choice = _only_choice(reply)
    content = (choice.logprobs.content if choice.logprobs else None) or []
    usage = reply.usage
    text = choice.message.content
    if not isinstance(text, str | None):
        raise TypeError(f"a message of text was expected, found {text!r}")
    return Completion(
        text=text or "",
        tokens=int(usage.completion_tokens) if usage else len(content),
        prompt_tokens=int(usage.prompt_tokens) if usage else 0,
        finish_reason=choice.finish_reason or "stop",
        logprobs=tuple(_finite(token.logprob) for token in content),
        top_logprobs=tuple(_alternatives(token.top_logprobs or ()) for token in content),
        pieces=tuple(str(token.token) for token in content),
    )


def _only_choice(reply: Any) -> Any:
    """The one that was asked for; some proxies send their error with HTTP 200 in its place."""
    if not reply.choices and (said := (reply.model_extra or {}).get("error")):
        raise ValueError(f"HTTP 200 with an error: {said.get('message', said) if isinstance(said, dict) else said}")
    [choice] = reply.choices
    return choice


def _finite(logprob: Any) -> float:
    if not math.isfinite(found := float(logprob)):
        raise ValueError(f"a log-probability was expected, found {found}")
    return found


async def read_stream(chunks: AsyncIterable[Any]) -> AsyncGenerator[Completion]:
    """The pieces of a streamed reply, and at its end one without text that carries the counts.

    Raises `ValueError` where the stream ends without a finish reason, and what `completion` raises.
    """
    reason, usage = "", None
    async for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            if choice.delta.content:
                yield Completion(choice.delta.content, finish_reason="")
    if not reason:
        raise ValueError("the stream ended in the middle")
    counts = (int(usage.completion_tokens), int(usage.prompt_tokens)) if usage else (0, 0)
    yield Completion("", *counts, reason)


def _alternatives(tops: Iterable[Any]) -> dict[str, float]:
    """Parts of characters all read "" or the replacement character: the likeliest speaks for its text."""
    return {top.token: _finite(top.logprob) for top in sorted(tops, key=lambda top: _finite(top.logprob))}


def prompt_tokens(reply: Any) -> tuple[list[tuple[str, float]] | None, list[int] | None]:
    """vLLM's prompt tokens as (text, log-probability in nats) and as ids; None for what the server left out.

    `prompt_logprobs` holds one `{token id: ...}` per token, and null for the first, which nothing predicts.
    """
    _ = _only_choice(reply)
    extra = reply.model_extra or {}
    logprobs, ids = extra.get("prompt_logprobs"), extra.get("prompt_token_ids")
    if logprobs is None or ids is None:
        return None, ids
    entries = [entry[str(token)] for token, entry in zip(ids[1:], logprobs[1:], strict=True)]
    return [("", 0.0), *((entry["decoded_token"] or "", _finite(entry["logprob"])) for entry in entries)], ids


def normalized(text: str) -> str:
    """Text as far as tokenizers keep it: spaces, case and Unicode form may change on the way."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
