"""OpenAI-compatible client: a chat-completions endpoint (a vLLM server, Ollama, a vendor) as a `Generator`.

Wire format: https://platform.openai.com/docs/api-reference/chat. `score` needs vLLM's extra parameters:
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import openai

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.http import read_key
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.retry import sleep_async
from wbrag.core.types import Completion, Message, Messages, NextTokens, Prompt, Sampling, Scored
from wbrag.generators.openai_dialect import Dialect
from wbrag.generators.openai_endpoint import MALFORMED, Endpoint, RetryPolicy
from wbrag.generators.openai_failures import EndpointErrors, root
from wbrag.generators.openai_stream import ends_with_done, read_stream
from wbrag.generators.openai_wire import chat_messages, checked_url, completion, normalized, prompt_tokens
from wbrag.generators.reasoning import AnswerFilter, answered, begins_inside

PLAIN = GeneratorConfig()
POOL_SIZE = 1000  # openai.DEFAULT_CONNECTION_LIMITS: beyond it, requests time out waiting for a connection
T = TypeVar("T")


class OpenAIGenerator:
    """A chat-completions endpoint, with bounded concurrency and its own retries.

    Connection errors, time-outs, 408, 409, 5xx and malformed replies are tried `max_retries` times more, after a
    random wait of at most 1, 2, 4 ... 30 s. A 429, or a 503 with `Retry-After`, is no failed try: it is waited for as
    asked, 300 s in all. Any other refusal fails at once. Every failure is one `WbragError` sentence that never holds a
    key; `NoAnswer` where the prompt is not what it is about. `max_concurrency` bounds the requests in flight per event
    loop, `timeout_s` one request from first to last byte, in seconds. Without a key in `api_key_env` a placeholder is
    sent, which local servers accept. A request's seed is `seed` plus its sampling's. Raises `UsageError` on a bad
    setting.
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
        settings: GeneratorConfig = PLAIN,
        where: str = "",
        sleep: Callable[[float], Awaitable[object]] = sleep_async,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        if not 1 <= max_concurrency <= POOL_SIZE:
            raise UsageError(f"max_concurrency must lie in 1..{POOL_SIZE}, found {max_concurrency}")
        if timeout_s <= 0 or max_retries < 0:
            raise UsageError(f"expected timeout_s > 0 and max_retries >= 0, found {timeout_s} and {max_retries}")
        self.model = model
        self.base_url = checked_url(base_url)
        self.errors = EndpointErrors(
            where or f"the 'openai' generator at {self.base_url}", model, read_key(api_key_env), api_key_env
        )
        self.settings = settings
        self._opens = False  # whether a reply was seen that began inside a block of thinking
        policy = RetryPolicy(timeout_s, sleep, uniform)
        dialect = Dialect.of(settings.request, settings.chat_template_kwargs, settings.system_prompt == "fold")
        self._endpoint = Endpoint(self.base_url, self.errors, max_concurrency, policy, dialect)
        self.in_flight = max_concurrency
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._seed = seed

    @property
    def fingerprint(self) -> str:
        return f"openai:{self.base_url}:{self.model}"

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One completion. Raises `UsageError` where log-probabilities are asked for and the endpoint gives none."""
        if isinstance(prompt, str):
            raise self.errors.no_tokens()
        return await self._generate(prompt, sampling, self._max_retries)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        """A completion as it comes. What has begun is not tried again: a reply that breaks off is a `WbragError`."""
        if isinstance(prompt, str):
            raise self.errors.no_tokens()
        body = self._body(prompt, sampling) | {"stream": True, "stream_options": {"include_usage": True}}
        async with self._endpoint.connections().slots:
            chunks = await self._endpoint.send(body, lambda reply: reply, self._max_retries, held=True)
            ends = asyncio.get_running_loop().time() + self._timeout_s
            try:
                whole = ends_with_done(chunks)
                async with aclosing(read_stream(chunks, self._answer(), whole)) as pieces:
                    while True:
                        async with asyncio.timeout_at(ends):  # around each piece: between them the caller is at work
                            piece = await anext(pieces, None)
                        if piece is None:
                            return
                        yield piece
            except (TimeoutError, openai.APITimeoutError):
                raise self._broke_off(f"not finished within {self._timeout_s:g} s") from None
            except (openai.OpenAIError, *MALFORMED) as error:
                raise self._broke_off(self.errors.quote(root(error))) from None
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
        text, wanted = normalized("".join(token for token, _ in scored[start:])), normalized(continuation)
        merged = len(before) - start
        # A character of several tokens may be decoded as replacement characters, which tell nothing.
        if start == 0 or merged > 1 or not (text == wanted or (merged and text.endswith(wanted)) or "\ufffd" in text):
            raise WbragError(
                f"cannot score with {self.errors.where}: its chat template renders the assistant's turn as "
                f"{text[:80]!r} where {wanted[:80]!r} was expected; use the 'vllm' generator or a template without "
                "additions"
            )
        return Scored(math.fsum(logprob for _, logprob in scored[start:]), len(scored), len(scored) - start)

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        raise self.errors.no_tokens()

    async def decode(self, ids: Sequence[int]) -> str:
        raise self.errors.no_tokens()

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
        await self._endpoint.close()

    def _body(self, prompt: Messages, sampling: Sampling) -> dict[str, Any]:
        body: dict[str, Any] = {
            "messages": chat_messages(prompt),
            "max_tokens": sampling.max_tokens + self.settings.thinking_tokens,
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
        whole = await self._chat(body, completion, retries)
        self._opens = self._opens or begins_inside(whole.text)
        done = answered(whole, self.settings.reasoning)
        if sampling.logprobs is not None and not done.logprobs and not done.thinking and (done.text or done.tokens):
            raise self.errors.no_logprobs()
        return done

    async def _prompt_tokens(self, turns: Messages, final: bool) -> tuple[list[tuple[str, float]], list[int]]:
        extra: dict[str, Any] = {"return_token_ids": True, "add_generation_prompt": not final}
        if final:
            extra |= {"continue_final_message": True, "prompt_logprobs": 0}
        body = {"messages": chat_messages(turns), "max_tokens": 1, "temperature": 0.0, "extra_body": extra}
        found, ids = await self._chat(body, prompt_tokens, self._max_retries)
        if ids is None or (final and found is None):
            raise self.errors.no_score()
        return found or [], ids

    async def _chat(self, body: dict[str, Any], parse: Callable[[Any], T], retries: int) -> T:
        """Where `ServeGenerator` asks a deployment instead of a URL."""
        return await self._endpoint.send(body, parse, retries)

    def _answer(self) -> AnswerFilter:
        """What picks the answer out of a streamed reply."""
        return AnswerFilter(self.settings.reasoning, likely=self._opens)

    def _broke_off(self, found: str) -> WbragError:
        return WbragError(f"{self.errors.where} broke off its reply ({found}): ask again")
