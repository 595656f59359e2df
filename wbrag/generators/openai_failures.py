"""Error classification of the OpenAI-compatible client: which failures are retried, and the message of each.

No message holds the API key.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import openai

from wbrag.core.errors import NoAnswer, PromptRefused, PromptTooLong, UsageError, WbragError
from wbrag.core.http import retry_after_s

MOST_WAIT_S = 300.0  # of waiting that an endpoint may ask for, for one answer
SCORE_FIELDS = ("prompt_logprobs", "return_token_ids", "add_generation_prompt", "continue_final_message")


@dataclass(frozen=True, slots=True)
class Failure:
    """One try that gave no answer; `wait_s` is what the endpoint asks for."""

    kind: str
    detail: str
    retry: bool = True
    status: int = 0
    about_model: bool = False
    too_long: bool = False
    wait_s: float | None = None
    named: frozenset[str] = frozenset()  # words of the refusal, among them the fields that it is about

    @property
    def asks_to_wait(self) -> bool:
        """The endpoint works and is busy: no failed try."""
        return self.status == 429 or self.wait_s is not None


@dataclass(frozen=True, slots=True)
class EndpointErrors:
    """How `where` is spoken of. None of the sentences holds the key."""

    where: str
    model: str
    key: str
    key_env: str

    def failure(self, error: Exception, timeout_s: float) -> Failure:
        """What an exception of the SDK, or of reading a reply, stands for."""
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            return Failure("time-out", f"no reply within {timeout_s:g} s")
        if isinstance(error, openai.APIConnectionError):
            return Failure("connection error", self.quote(root(error)))
        if isinstance(error, openai.APIStatusError):
            return self._status(error)
        return Failure("malformed reply", self.quote(f"{type(error).__name__}: {error}"))

    def _status(self, error: openai.APIStatusError) -> Failure:
        status, detail = error.status_code, self.quote(_server_says(error))
        return Failure(
            f"HTTP {status}",
            detail,
            # OpenAI sends an exhausted account as 429 too; waiting does not fill it.
            retry=(status in (408, 409, 429) or status >= 500) and error.code != "insufficient_quota",
            status=status,
            about_model=error.param == "model" or "model" in (error.code or ""),
            too_long=error.code == "context_length_exceeded" or "maximum context length" in detail.lower(),
            wait_s=retry_after_s(error.response.headers) if status in (429, 503) else None,
            named=frozenset(re.findall(r"\w+", f"{_server_says(error)} {error.param or ''}")),
        )

    def gave_up(self, last: Failure, seen: Counter[str], seconds: float) -> NoAnswer:
        tried = ", ".join(f"{n} x {kind}" for kind, n in seen.items())
        asked = f" and asks to wait {last.wait_s:.0f} s" if (last.wait_s or 0.0) > MOST_WAIT_S else ""
        return NoAnswer(
            f"{self.where} did not answer{asked}: {seen.total()} tries in {seconds:.1f} s ({tried}), the last saying "
            f"{last.detail!r}; check that the server runs and is not overloaded, or lower generator.concurrency"
        )

    def refusal(self, failure: Failure, body: Mapping[str, Any], listed: Sequence[str]) -> WbragError:
        """What to say about an answer that no retry mends; `listed` are the endpoint's models."""
        status, detail = failure.status, failure.detail
        if status in (400, 413, 422) and failure.too_long:
            return PromptTooLong(f"expected a prompt that the model has room for, found one too long: {detail}")
        if status in (401, 403):
            # A 401's text may quote parts of the key, so it is not shown.
            said = f": {detail}" if status == 403 else ""
            if not self.key:
                return NoAnswer(f"{self.where} wants a key (HTTP {status}): set {self.key_env}{said}")
            return NoAnswer(f"{self.where} refused the key that {self.key_env} holds (HTTP {status}){said}")
        if status in (400, 422) and "extra_body" in body and any(field in detail for field in SCORE_FIELDS):
            return self.no_score()
        if status in (400, 422) and "logprobs" in body and "logprob" in detail.lower():
            return self.no_logprobs(f", saying {detail!r}")
        if listed and self.model not in listed:
            near = get_close_matches(self.model, listed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
            return NoAnswer(f"unknown model {self.model!r}: {hint}{self.where} lists {', '.join(listed[:20])}{more}")
        if status == 404 and not listed:
            return NoAnswer(f"{self.where} answered HTTP 404 ({detail}): check the URL, which often ends in /v1")
        kind = PromptRefused if status in (400, 413, 422) and not failure.about_model else NoAnswer
        return kind(f"{self.where} refused the request for model {self.model!r} (HTTP {status}): {detail}")

    def no_logprobs(self, said: str = "") -> UsageError:
        return UsageError(
            f"{self.where} gives no token log-probabilities for model {self.model!r}{said}: "
            "use the 'vllm' generator, a vLLM server, or a method that needs none"
        )

    def no_tokens(self) -> UsageError:
        return UsageError(
            f"{self.where} gives no control over single tokens: "
            "use the 'vllm' generator, or for RePlug the setting methods.replug.level sequence"
        )

    def no_score(self) -> UsageError:
        return UsageError(
            f"{self.where} cannot score a given continuation with model {self.model!r} (it gives no prompt_logprobs): "
            "use the 'vllm' generator, a vLLM server 0.10.2 or newer, or a method that needs no scores"
        )

    def quote(self, text: str) -> str:
        """A server's words, on one line, short, and without anything that looks like a key."""
        if self.key:
            text = text.replace(self.key, "***")
        return re.sub(r"\bsk-[\w*.-]+", "***", " ".join(text.split()))[:300]


def _server_says(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body.get("detail") or body)
    return str(body or error.message)


def root(error: BaseException) -> str:
    """The first cause, which says more than the SDK's "Connection error."."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {error}"
