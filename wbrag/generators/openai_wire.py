"""Request and response mapping of the OpenAI-compatible client: prompts to JSON, replies to `Completion`s.

A reply without what was asked for raises AttributeError, IndexError, KeyError, TypeError or ValueError.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
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
    tokens, prompt_tokens = counts(reply.usage)
    if choice.message is None:
        raise TypeError("a message was expected, found none")
    text, thinking = texts(choice.message)
    return Completion(
        text=text,
        thinking=thinking,
        tokens=tokens or len(content),
        prompt_tokens=prompt_tokens,
        finish_reason=choice.finish_reason or "stop",
        logprobs=tuple(_finite(token.logprob) for token in content),
        top_logprobs=tuple(_alternatives(token.top_logprobs or ()) for token in content),
        pieces=tuple(str(token.token) for token in content),
    )


def counts(usage: Any) -> tuple[int, int]:
    """Tokens of the answer and of the prompt; 0 for what the endpoint does not say."""
    return int(getattr(usage, "completion_tokens", 0) or 0), int(getattr(usage, "prompt_tokens", 0) or 0)


def texts(message: Any) -> tuple[str, str]:
    """What a message, or a piece of one, says, and what it thinks.

    The content is a text, or a list of parts of which some are thoughts. Raises `TypeError` for anything else.
    """
    if message is None:
        return "", ""
    content, extra = message.content, message.model_extra or {}
    said, thought = [], [extra[name] for name in ("reasoning_content", "reasoning") if isinstance(extra.get(name), str)]
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and "thinking" in str(part.get("type")) + "".join(part):
            thought.append(_inner(part.get("thinking")))
        elif isinstance(part, dict) and part.get("type") in (None, "text", "output_text"):
            said.append(_inner(part.get("text")))
        elif isinstance(part, str):
            said.append(part)
        elif part is not None and not isinstance(part, dict):
            raise TypeError(f"a message of text was expected, found {content!r}")
    return "".join(said), "".join(thought[:1])


def _inner(text: Any) -> str:
    """A part's text, which may be parts again."""
    if isinstance(text, list):
        return "".join(_inner(part.get("text") if isinstance(part, dict) else part) for part in text)
    return text if isinstance(text, str) else ""


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
