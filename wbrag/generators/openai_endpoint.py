"""HTTP transport of the OpenAI-compatible client: connections, concurrency limit, retries.

`Endpoint.send` is the one place that sends a prompt. Connections belong to one event loop and are never shared.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import openai

from wbrag.core import tracing
from wbrag.core.errors import WbragError
from wbrag.core.retry import backoff_s
from wbrag.generators.openai_dialect import Dialect
from wbrag.generators.openai_failures import MOST_WAIT_S, EndpointErrors, Failure

log = logging.getLogger(__name__)
MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)  # what reading a senseless reply raises
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoopConnections:
    """What belongs to one event loop: connections and waiters cannot be shared between loops."""

    client: openai.AsyncOpenAI
    slots: asyncio.Semaphore


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long an answer is waited for: seconds a try, and how waits between tries are slept and drawn from [0, 1)."""

    timeout_s: float
    sleep: Callable[[float], Awaitable[object]]
    uniform: Callable[[], float]


class Endpoint:
    """One URL and one model behind it."""

    def __init__(
        self,
        base_url: str,
        errors: EndpointErrors,
        max_concurrency: int,
        policy: RetryPolicy,
        dialect: Dialect,
    ) -> None:
        self.base_url, self.errors, self.max_concurrency, self.policy = base_url, errors, max_concurrency, policy
        self.dialect = dialect
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopConnections] = {}

    def connections(self) -> LoopConnections:
        """The running loop's."""
        loop = asyncio.get_running_loop()
        if loop not in self._by_loop:
            self._by_loop = {other: kept for other, kept in self._by_loop.items() if not other.is_closed()}
            timeout = openai.Timeout(self.policy.timeout_s, connect=min(10.0, self.policy.timeout_s))
            # Unlike the SDK's default, this client does not close another loop's sockets when it is collected.
            http = openai.DefaultAsyncHttpxClient(timeout=timeout)
            client = openai.AsyncOpenAI(
                api_key=self.errors.key or "none",
                base_url=self.base_url,
                timeout=timeout,
                max_retries=0,
                http_client=http,
            )
            self._by_loop[loop] = LoopConnections(client, asyncio.Semaphore(self.max_concurrency))
        return self._by_loop[loop]

    async def close(self) -> None:
        """Close the running loop's connections. A later call opens new ones."""
        connections = self._by_loop.pop(asyncio.get_running_loop(), None)
        if connections is not None:
            await connections.client.close()

    async def send(self, body: dict[str, Any], parse: Callable[[Any], T], retries: int, held: bool = False) -> T:
        """The one place that sends: try, judge, wait, try again. `held`: the caller has taken a slot for all of it.

        A wait that the endpoint asks for is no failed try; all of them together may last `MOST_WAIT_S`. A refusal that
        names a field is none either, where the request can do without it.
        """
        seen: Counter[str] = Counter()
        dialect = self.dialect
        failed, waited, started = 0, 0.0, time.monotonic()
        while True:
            connections = self.connections()
            async with nullcontext() if held else connections.slots:
                outcome = await self._try(connections.client, dialect.spoken(body), parse)
            if not isinstance(outcome, Failure):
                self._speaks(dialect)
                return outcome
            if not outcome.too_long and (other := dialect.adapted(outcome.status, outcome.named, outcome.detail, body)):
                dialect = other
                continue
            seen[outcome.kind] += 1
            if not outcome.retry:
                about_model = outcome.status == 404 or outcome.about_model
                raise self.errors.refusal(outcome, dialect.spoken(body), await self.models() if about_model else ())
            wait_s = backoff_s(seen.total(), outcome.wait_s, self.policy.uniform)
            if outcome.asks_to_wait:
                waited += wait_s
            else:
                failed += 1
            if failed > retries or waited > MOST_WAIT_S:
                raise self.errors.gave_up(outcome, seen, time.monotonic() - started)
            await self.policy.sleep(wait_s)

    def _speaks(self, dialect: Dialect) -> None:
        """Every later request goes this way at once."""
        if dialect is not self.dialect:
            for said in dialect.learned[len(self.dialect.learned) :]:
                log.warning("%s %s", self.errors.where, said)
            self.dialect = dialect

    async def _try(self, client: openai.AsyncOpenAI, body: dict[str, Any], parse: Callable[[Any], T]) -> T | Failure:
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                headers = tracing.carried()  # an engine that traces as well goes on from here
                reply = await client.chat.completions.create(model=self.errors.model, extra_headers=headers, **body)
        except UnicodeEncodeError as error:
            raise WbragError(
                f"a prompt holds characters that are not Unicode text ({error.reason}): "
                f"{error.object[error.start : error.end]!r}"
            ) from None
        except (TimeoutError, openai.OpenAIError, ValueError) as error:
            return self.errors.failure(error, self.policy.timeout_s)
        try:
            return parse(reply)
        except MALFORMED as error:
            shown = repr(reply) if isinstance(reply, str) else f"{type(error).__name__}: {error}"
            return Failure("malformed reply", self.errors.quote(shown))

    async def models(self) -> list[str]:
        """The names that the endpoint lists, sorted; none where it does not say."""
        try:
            async with asyncio.timeout(min(10.0, self.policy.timeout_s)):
                page = await self.connections().client.models.list()
                return sorted(str(model.id) for model in page.data)
        except (openai.OpenAIError, TimeoutError, AttributeError, TypeError, ValueError):
            return []
