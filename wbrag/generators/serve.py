"""Ray Serve client: an LLM deployment as a `Generator`, by the OpenAI mapping and without a network in between.

A call that is cancelled here is cancelled in the engine. Ray stays behind the protocol `ChatTransport`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tenacity import retry, retry_if_exception_type

from wbrag.core.errors import PromptTooLong, WbragError
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.retry import REPLICAS
from wbrag.core.types import Completion, Prompt, Sampling
from wbrag.generators import engine_name
from wbrag.generators.openai import OpenAIGenerator
from wbrag.generators.openai_dialect import Dialect
from wbrag.generators.openai_stream import read_stream

T = TypeVar("T")
Body = dict[str, Any]


class ChatTransport(Protocol):
    """The deployment: a chat-completions body to its reply, or to its chunks where the body asks for a stream.

    `{"error": {"message": ...}}` is a refusal. Raises `ConnectionError` where the replica died. Closing the iterator
    cancels the request.
    """

    def __call__(self, body: Body) -> AsyncGenerator[Body]: ...


class ServeGenerator(OpenAIGenerator):
    """`OpenAIGenerator` with a deployment in place of a URL; a call that is cancelled here is cancelled in the engine.

    Single tokens (`next_tokens`, `decode`) are refused by name, as those of any other endpoint.
    """

    def __init__(self, settings: GeneratorConfig, ask: ChatTransport, seed: int = 0) -> None:
        where = f"the model {settings.model!r} on Ray Serve"
        super().__init__(
            settings.model, "http://serve", timeout_s=settings.timeout_s, seed=seed, where=where, settings=settings
        )
        self.ask = ask

    @property
    def fingerprint(self) -> str:
        """`VLLMGenerator`'s: the engine is the same."""
        return engine_name(self.settings)

    async def close(self) -> None:
        """Ray Serve stops the engine."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        """The reply as it is written; a replica that dies in the middle of it is a `WbragError`."""
        if isinstance(prompt, str):
            raise self.errors.no_tokens()
        body = self._body(prompt, sampling) | {"stream": True, "stream_options": {"include_usage": True}}
        async with aclosing(self._asked(body)) as parts:
            try:
                async for piece in read_stream(
                    (ChatCompletionChunk.model_validate(p) async for p in parts), self._answer()
                ):
                    yield piece
            except (AttributeError, TypeError, ValueError) as error:
                raise WbragError(f"{self.errors.where} broke off its reply ({error}): ask again") from None

    async def _chat(self, body: Body, parse: Callable[[Any], T], retries: int) -> T:
        try:
            async with asyncio.timeout(self._timeout_s), aclosing(self._asked(body)) as parts:
                async for reply in parts:
                    return parse(ChatCompletion.model_validate(reply))
        except TimeoutError:
            raise WbragError(
                f"expected an answer of {self.errors.where} within {self._timeout_s:g} s, found none: "
                "raise generator.timeout_s or serving.generators"
            ) from None
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise WbragError(f"expected a chat completion from {self.errors.where}, found {error}") from None
        raise WbragError(f"expected a reply of {self.errors.where}, found none: ask again")

    async def _asked(self, body: Body) -> AsyncGenerator[Body]:
        """The replies, asked for again where the replica dies before the first, or refuses a field or a role."""
        dialect, asked = self._endpoint.dialect, False
        while not asked:
            spoken = dialect.spoken(body)
            extra = spoken.pop("extra_body", {})  # the SDK's word, which no server knows
            sent = {"model": self.model, **spoken, **extra}
            try:
                part, more = await self._begun(sent)
                async with aclosing(more):
                    if part is not None and "error" in part:
                        dialect = self._adapted(dialect, part["error"], body)
                        continue
                    asked, self._endpoint.dialect = True, dialect
                    while part is not None:
                        if "error" in part:
                            raise self._refused(part["error"])
                        yield part
                        part = await anext(more, None)
            except ConnectionError:
                raise WbragError(
                    f"expected {self.errors.where} to finish its reply, found its replica gone: ask again"
                ) from None

    def _adapted(self, dialect: Dialect, error: Any, body: Body) -> Dialect:
        """How to ask instead; raises the refusal where there is no other way."""
        said = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        code = error.get("code") if isinstance(error, dict) else None
        named = frozenset(re.findall(r"\w+", said))
        other = dialect.adapted(code if isinstance(code, int) else 400, named, said, body)
        if other is None or "maximum context length" in said:
            raise self._refused(error)
        return other

    @retry(stop=REPLICAS, retry=retry_if_exception_type(ConnectionError), reraise=True)
    async def _begun(self, sent: Body) -> tuple[Body | None, AsyncGenerator[Body]]:
        """The first part of the reply, and the others to come."""
        # vLLM wants ids of its own: one request to the gateway may become several here.
        parts = self.ask({**sent, "request_id": uuid4().hex})
        return await anext(parts, None), parts

    def _refused(self, error: Any) -> WbragError:
        said = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        kind = PromptTooLong if "maximum context length" in said else WbragError
        return kind(f"{self.errors.where} refused the request: {self.errors.quote(said)}")
