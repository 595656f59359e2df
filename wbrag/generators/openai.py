"""Any OpenAI-compatible chat endpoint as a `Generator`: a vLLM server, Ollama, a vendor.

Wire format: https://platform.openai.com/docs/api-reference/chat. `score` needs vLLM's extra parameters:
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

import openai

from wbrag.errors import PromptRefused, PromptTooLong, UsageError, WbragError
from wbrag.generators.openai_wire import (
    checked_url,
    completion,
    prompt_side,
    read_key,
    read_stream,
    retry_after_s,
    root,
    server_says,
    squeeze,
    wire,
)
from wbrag.types import Completion, Message, Messages, NextTokens, Prompt, Sampling, Scored

BACKOFF_BASE_S, BACKOFF_CAP_S = 1.0, 30.0
RETRY_AFTER_CAP_S = 300.0
POOL_SIZE = 1000  # openai.DEFAULT_CONNECTION_LIMITS: beyond it, requests time out waiting for a connection
SCORE_FIELDS = ("prompt_logprobs", "return_token_ids", "add_generation_prompt", "continue_final_message")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Door:
    """What belongs to one event loop: connections and waiters cannot be shared between loops."""

    client: openai.AsyncOpenAI
    slots: asyncio.Semaphore


@dataclass(frozen=True, slots=True)
class _Failure:
    kind: str
    detail: str
    retry: bool
    status: int = 0
    about_model: bool = False
    too_long: bool = False
    wait_s: float | None = None


class OpenAIGenerator:
    """A chat-completions endpoint, with bounded concurrency and its own retries.

    Connection errors, time-outs, 408, 409, 429, 5xx and malformed replies are tried `max_retries` times more, after a
    random wait of at most 1, 2, 4 ... 30 s, or what `Retry-After` (429, 503) asks. Any other refusal fails at once.
    Every failure is one `WbragError` sentence that never holds a key. `max_concurrency` bounds the requests in flight
    per event loop, `timeout_s` one request in seconds. Without a key in `api_key_env` a placeholder is sent, which
    local servers accept. A request's seed is `seed` plus its sampling's. Raises `UsageError` on a bad setting.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key_env: str = "OPENAI_API_KEY",
        max_concurrency: int = 64,
        timeout_s: float = 120.0,
        max_retries: int = 6,
        seed: int = 0,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        if not 1 <= max_concurrency <= POOL_SIZE:
            raise UsageError(f"max_concurrency must lie in 1..{POOL_SIZE}, found {max_concurrency}")
        if timeout_s <= 0 or max_retries < 0:
            raise UsageError(f"expected timeout_s > 0 and max_retries >= 0, found {timeout_s} and {max_retries}")
        self.model = model
        self.base_url = checked_url(base_url)
        self._key_env = api_key_env
        self._key = read_key(api_key_env)
        self._max_concurrency = max_concurrency
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._seed = seed
        self._sleep = sleep
        self._uniform = uniform
        self._doors: dict[asyncio.AbstractEventLoop, _Door] = {}

    @property
    def fingerprint(self) -> str:
        return f"openai:{self.base_url}:{self.model}"

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One completion. Raises `UsageError` where log-probabilities are asked for and the endpoint gives none."""
        if isinstance(prompt, str):
            raise self._no_tokens()
        return await self._generate(prompt, sampling, self._max_retries)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        """A completion as it comes. What has begun is not tried again: a reply that breaks off is a `WbragError`."""
        if isinstance(prompt, str):
            raise self._no_tokens()
        body = self._body(prompt, sampling) | {"stream": True, "stream_options": {"include_usage": True}}
        async with self._door().slots:
            chunks = await self._send(body, lambda reply: reply, self._max_retries, held=True)
            try:
                async for piece in read_stream(chunks):
                    yield piece
            except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
                said = self._quote(root(error))
                raise WbragError(f"{self._where} broke off its reply ({said}): ask again") from None
            finally:
                await chunks.close()

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        """log p(continuation | prompt) in nats, from a vLLM (0.10.2 or newer) server's `prompt_logprobs`.

        The continuation is scored as the start of the assistant's turn; its tokens are those after the rendered
        prompt's. Raises `UsageError` where the endpoint cannot do this, `WbragError` where the chat template puts
        other text into the scored turn than the continuation.
        """
        if not continuation:
            return Scored(0.0, 0)
        turn = [*prompt, Message("assistant", continuation)]
        scored, whole = await self._prompt_tokens(turn, final=True)
        _, before = await self._prompt_tokens(prompt, final=False)
        # A tokenizer may merge the prompt's last token with the continuation's first.
        start = next((i for i, (a, b) in enumerate(zip(before, whole)) if a != b), min(len(before), len(whole)))
        text, wanted = squeeze("".join(token for token, _ in scored[start:])), squeeze(continuation)
        merged = len(before) - start
        # A character of several tokens may be decoded as replacement characters, which tell nothing.
        if start == 0 or merged > 1 or not (text == wanted or (merged and text.endswith(wanted)) or "\ufffd" in text):
            raise WbragError(
                f"cannot score with {self._where}: its chat template renders the assistant's turn as {text[:80]!r} "
                f"where {wanted[:80]!r} was expected; use the 'vllm' generator or a template without additions"
            )
        return Scored(math.fsum(logprob for _, logprob in scored[start:]), len(scored))

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        raise self._no_tokens()

    async def decode(self, ids: Sequence[int]) -> str:
        raise self._no_tokens()

    async def knows(self, tokens: Sequence[str]) -> bool:
        return False

    async def start(self) -> None:
        await self.check()

    async def check(self, need_logprobs: int = 0, need_score: bool = False) -> None:
        """One tiny request (`need_score`: two more), retried once, so that what cannot work is refused at the start.

        Raises `WbragError` for a wrong URL, key or model, `UsageError` for missing log-probabilities or `score`.
        """
        sampling = Sampling(max_tokens=1, logprobs=int(need_logprobs) or None)
        await self._generate([Message("user", "Say yes.")], sampling, min(1, self._max_retries))
        if need_score:
            await self.score([Message("user", "Say yes.")], "yes")

    async def close(self) -> None:
        """Close the running loop's connections. A later call opens new ones."""
        door = self._doors.pop(asyncio.get_running_loop(), None)
        if door is not None:
            await door.client.close()

    @property
    def _where(self) -> str:
        return f"the 'openai' generator at {self.base_url}"

    def _door(self) -> _Door:
        loop = asyncio.get_running_loop()
        if loop not in self._doors:
            self._doors = {other: door for other, door in self._doors.items() if not other.is_closed()}
            timeout = openai.Timeout(self._timeout_s, connect=min(10.0, self._timeout_s))
            # Unlike the SDK's default, this client does not close another loop's sockets when it is collected.
            http = openai.DefaultAsyncHttpxClient(timeout=timeout)
            client = openai.AsyncOpenAI(
                api_key=self._key or "none", base_url=self.base_url, timeout=timeout, max_retries=0, http_client=http
            )
            self._doors[loop] = _Door(client, asyncio.Semaphore(self._max_concurrency))
        return self._doors[loop]

    def _body(self, prompt: Messages, sampling: Sampling) -> dict[str, Any]:
        body: dict[str, Any] = {
            "messages": wire(prompt),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": self._seed + sampling.seed,
        }
        if prompt[-1].role == "assistant":  # vLLM's parameters; other servers go on after such a message by themselves
            body["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        return body

    async def _generate(self, prompt: Messages, sampling: Sampling, retries: int) -> Completion:
        body = self._body(prompt, sampling)
        if sampling.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
        done = await self._chat(body, completion, retries)
        if sampling.logprobs is not None and not done.logprobs and (done.text or done.tokens):
            raise self._no_logprobs()
        return done

    async def _prompt_tokens(self, turns: Messages, final: bool) -> tuple[list[tuple[str, float]], list[int]]:
        extra: dict[str, Any] = {"return_token_ids": True, "add_generation_prompt": not final}
        if final:
            extra |= {"continue_final_message": True, "prompt_logprobs": 0}
        body = {"messages": wire(turns), "max_tokens": 1, "temperature": 0.0, "extra_body": extra}
        found, ids = await self._chat(body, prompt_side, self._max_retries)
        if ids is None or (final and found is None):
            raise self._no_score()
        return found or [], ids

    async def _chat(self, body: dict[str, Any], parse: Callable[[Any], T], retries: int) -> T:
        return await self._send(body, parse, retries, held=False)

    async def _send(self, body: dict[str, Any], parse: Callable[[Any], T], retries: int, held: bool) -> T:
        """The one place that sends: try, judge, wait, try again. `held`: the caller has taken a slot for all of it."""
        seen: Counter[str] = Counter()
        started = time.monotonic()
        while True:
            door = self._door()
            async with nullcontext() if held else door.slots:
                outcome = await self._try(door.client, body, parse)
            if not isinstance(outcome, _Failure):
                return outcome
            seen[outcome.kind] += 1
            if not outcome.retry:
                raise await self._refusal(outcome, body)
            if seen.total() > retries or (outcome.wait_s or 0.0) > RETRY_AFTER_CAP_S:
                raise self._gave_up(outcome, seen, time.monotonic() - started)
            await self._sleep(self._wait_s(outcome, seen.total()))

    async def _try(self, client: openai.AsyncOpenAI, body: dict[str, Any], parse: Callable[[Any], T]) -> T | _Failure:
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await client.chat.completions.create(model=self.model, **body)
        except (TimeoutError, openai.APITimeoutError):
            return _Failure("time-out", f"no reply within {self._timeout_s:g} s", retry=True)
        except openai.APIConnectionError as error:
            return _Failure("connection error", self._quote(root(error)), retry=True)
        except openai.APIStatusError as error:
            retry = error.status_code in (408, 409, 429) or error.status_code >= 500
            wait_s = retry_after_s(error.response.headers) if error.status_code in (429, 503) else None
            detail = self._quote(server_says(error))
            # OpenAI sends an exhausted account as 429 too; waiting does not fill it.
            retry = retry and error.code != "insufficient_quota"
            about_model = error.param == "model" or "model" in (error.code or "")
            too_long = error.code == "context_length_exceeded" or "maximum context length" in detail.lower()
            return _Failure(
                f"HTTP {error.status_code}", detail, retry, error.status_code, about_model, too_long, wait_s
            )
        except UnicodeEncodeError as error:
            raise WbragError(
                f"a prompt holds characters that are not Unicode text ({error.reason}): "
                f"{error.object[error.start : error.end]!r}"
            ) from None
        except (openai.OpenAIError, ValueError) as error:
            return _Failure("malformed reply", self._quote(f"{type(error).__name__}: {error}"), retry=True)
        try:
            return parse(reply)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            shown = repr(reply) if isinstance(reply, str) else f"{type(error).__name__}: {error}"
            return _Failure("malformed reply", self._quote(shown), retry=True)

    def _wait_s(self, failure: _Failure, attempt: int) -> float:
        if failure.wait_s is not None:
            return failure.wait_s + self._uniform()  # spread, or all callers return at the same instant
        return self._uniform() * min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(attempt - 1, 16))

    def _gave_up(self, last: _Failure, seen: Counter[str], seconds: float) -> WbragError:
        tried = ", ".join(f"{n} x {kind}" for kind, n in seen.items())
        asked = f" and asks to wait {last.wait_s:.0f} s" if (last.wait_s or 0.0) > RETRY_AFTER_CAP_S else ""
        return WbragError(
            f"{self._where} did not answer{asked}: {seen.total()} tries in {seconds:.1f} s ({tried}), the last saying "
            f"{last.detail!r}; check that the server runs and is not overloaded, or lower max_concurrency"
        )

    async def _refusal(self, failure: _Failure, body: Mapping[str, Any]) -> WbragError:
        """What to say about an answer that no retry mends."""
        status, detail = failure.status, failure.detail
        if status in (400, 413, 422) and failure.too_long:
            return PromptTooLong(f"expected a prompt that the model has room for, found one too long: {detail}")
        if status in (401, 403):
            # A 401's text may quote parts of the key, so it is not shown.
            said = f": {detail}" if status == 403 else ""
            if not self._key:
                return WbragError(f"{self._where} wants a key (HTTP {status}): set {self._key_env}{said}")
            return WbragError(f"{self._where} refused the key that {self._key_env} holds (HTTP {status}){said}")
        if status in (400, 422) and "extra_body" in body and any(field in detail for field in SCORE_FIELDS):
            return self._no_score()
        if status in (400, 422) and "logprobs" in body and "logprob" in detail.lower():
            return self._no_logprobs(f", saying {detail!r}")
        if status == 404 or failure.about_model:
            listed = await self._listed_models()
            if listed and self.model not in listed:
                near = get_close_matches(self.model, listed, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
                names = ", ".join(listed[:20]) + more
                return WbragError(f"unknown model {self.model!r}: {hint}{self._where} lists {names}")
            if status == 404 and not listed:
                return WbragError(f"{self._where} answered HTTP 404 ({detail}): check the URL, which often ends in /v1")
        kind = PromptRefused if status in (400, 413, 422) and not failure.about_model else WbragError
        return kind(f"{self._where} refused the request for model {self.model!r} (HTTP {status}): {detail}")

    async def _listed_models(self) -> list[str]:
        door = self._door()
        try:
            async with door.slots, asyncio.timeout(min(10.0, self._timeout_s)):
                page = await door.client.models.list()
                return sorted(str(model.id) for model in page.data)
        except (openai.OpenAIError, TimeoutError, AttributeError, TypeError, ValueError):
            return []

    def _no_logprobs(self, said: str = "") -> UsageError:
        return UsageError(
            f"{self._where} gives no token log-probabilities for model {self.model!r}{said}: "
            "use the 'vllm' generator, a vLLM server, or a method that needs none"
        )

    def _no_tokens(self) -> UsageError:
        return UsageError(
            f"{self._where} gives no control over single tokens: "
            "use the 'vllm' generator, or for RePlug the setting methods.replug.level sequence"
        )

    def _no_score(self) -> UsageError:
        return UsageError(
            f"{self._where} cannot score a given continuation with model {self.model!r} (it gives no prompt_logprobs): "
            "use the 'vllm' generator, a vLLM server 0.10.2 or newer, or a method that needs no scores"
        )

    def _quote(self, text: str) -> str:
        """A server's words, on one line, short, and without anything that looks like a key."""
        if self._key:
            text = text.replace(self._key, "***")
        return re.sub(r"\bsk-[\w*.-]+", "***", " ".join(text.split()))[:300]
