"""Engine actors and their client: a killed engine costs time, a prompt that kills engines costs its row.

Ray only restarts the process. What happens to the calls is decided here, in `RemoteGenerator`, by whoever made them:
every call in flight at a death may be what caused it, so each of them is repeated with an engine to itself. A prompt
that then takes three engines down is at fault, and fails with `NoAnswer`; all others get their answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from math import inf
from typing import Any, cast

import ray
from ray.exceptions import RayError, RayTaskError

from wbrag.core.config import Config
from wbrag.core.env import openmp
from wbrag.core.errors import EngineDied, NoAnswer
from wbrag.core.types import Completion, Generator, Messages, NextTokens, Prompt, Sampling, Scored
from wbrag.executor.ray.capacity import pending
from wbrag.executor.ray.failures import LESS, EnginesGone, cause, in_one_sentence, short_of_memory
from wbrag.executor.ray.lease import Lease
from wbrag.generators import build
from wbrag.generators.cached import CachedGenerator

log = logging.getLogger(__name__)
CALLS_AT_ONCE = 100_000  # at the actor's door; the generator inside keeps to its own `concurrency`
ALONE = 3  # deaths with nothing else at work that put a prompt at fault: two may be bad luck, on spot nodes
DEATHS = 100  # of engines, by others' prompts or by themselves, that one call waits through
STARTS = 3  # failed in a row, and an engine is given up
START_RETRIES = 2 * STARTS  # as Ray counts: a death is also seen as "restarting"
POLL_S = 0.1
DIES = (
    "expected an engine to start again, found that its process dies each time: "
    "look for the cause in Ray's worker logs; what was finished is kept, run it again"
)
CLOSED = "expected a running engine, found that its job has closed it; what was finished is kept, run it again"


class EngineActor:
    """A generator of its own: a vLLM engine, or a client of an endpoint."""

    def __init__(self, config: Config) -> None:
        count = config.generator.engines[1]
        os.environ.update(openmp(count))  # before vLLM and torch read it
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind" if count > 1 else "auto"
        self.config = config
        self.generator: Generator | None = None
        self.closed = False
        self._starting = asyncio.Lock()
        self._turns = Lease()

    async def ready(self) -> bool:
        """Start the engine, or let a running one say that it still works; a bad setting is refused here."""
        async with self._starting:
            generator = self.generator or CachedGenerator(build(self.config))
            await self._answer(generator, "start")
            self.generator = generator
        return True

    async def ask(self, method: str, *arguments: Any) -> Any:
        """`Generator`'s method of that name, beside other calls."""
        generator = await self._running()
        async with self._turns.together():
            return await self._answer(generator, method, *arguments)

    async def turn(self) -> int:
        """A turn, for one `ask_alone`; nothing else is at work when this returns."""
        await self._running()
        return await self._turns.claim()

    async def ask_alone(self, turn: int, method: str, *arguments: Any) -> Any:
        """As `ask`, with the engine to itself."""
        generator = await self._running()
        async with self._turns.use(turn):
            return await self._answer(generator, method, *arguments)

    async def close(self) -> None:
        """What fails from here on fails with `EnginesGone`: it is no row's fault that its engine was closed."""
        self.closed = True
        if self.generator is not None:
            await self.generator.close()
            self.generator = None

    async def _answer(self, generator: Generator, method: str, *arguments: Any) -> Any:
        """An engine that died inside a living process takes the process along, and Ray starts both again."""
        if self.closed:
            raise EnginesGone(CLOSED)
        try:
            return await getattr(generator, method)(*arguments)
        except Exception as error:
            if self.closed:
                raise EnginesGone(CLOSED) from None
            if isinstance(error, EngineDied):
                os._exit(1)
            raise

    async def _running(self) -> Generator:
        if self.generator is None:  # this actor was restarted
            await self.ready()
        return cast(Generator, self.generator)


class RemoteGenerator:
    """The `Generator` protocol over engine actors; a prompt goes to the same engine, whoever asks.

    Each engine remembers its replies, and two engines may differ in the last bit: so one prompt is one computation, and
    a pair of answers differs by the library alone. Engines join as they come up, at the start and after a death;
    meanwhile the others do the work. `starting` are the references that resolve when the engine of the same position is
    ready. Raises `NoAnswer` for a prompt that kills engines, `EnginesGone` once no engine starts any more, and what the
    generator itself raises.
    """

    def __init__(self, engines: Sequence[Any], starting: Sequence[Any], fingerprint: str, limit_s: float = inf) -> None:
        self.fingerprint, self.engines, self.limit_s = fingerprint, len(engines), limit_s
        self._ready: list[Any] = []
        self._starting = dict(zip(starting, engines))
        self._number = {engine: number for number, engine in enumerate(engines)}
        self._failed: Counter[Any] = Counter()  # starts that failed since the last that did not
        self._why = ""  # the last of them

    async def start(self) -> None:
        """Ask an engine whether it works; the session has started them."""
        engine = await self._next()
        try:
            await engine.ready.remote()
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            self._down(engine, error)
            await self._next()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        return cast(Completion, await self._ask("generate", prompt, sampling))

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        return cast(Scored, await self._ask("score", prompt, continuation))

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        return cast(NextTokens, await self._ask("next_tokens", prompt, prefix, top))

    async def decode(self, ids: Sequence[int]) -> str:
        return cast(str, await self._ask("decode", ids))

    async def knows(self, tokens: Sequence[str]) -> bool:
        return cast(bool, await self._ask("knows", tokens))

    async def close(self) -> None:
        for engine in [*self._ready, *self._starting.values()]:
            await engine.close.remote()

    async def _ask(self, method: str, *arguments: Any) -> Any:
        """Beside other calls; after a death under this one, alone."""
        prompt = _bytes(method, *arguments)
        engine = await self._next(prompt)
        try:
            return await engine.ask.remote(method, *arguments)
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            self._down(engine, error)
        alone = deaths = 0
        while alone < ALONE and deaths < DEATHS:
            engine, turn = await self._next(prompt), None
            try:
                turn = await engine.turn.remote()
                return await engine.ask_alone.remote(turn, method, *arguments)
            except RayTaskError as error:
                raise cause(error) from None
            except RayError as error:
                deaths += 1
                alone += turn is not None
                self._down(engine, error)
        when = "with nothing else at work than this prompt" if alone == ALONE else "before this prompt had its turn"
        raise NoAnswer(
            f"expected an engine to answer, found {deaths} deaths {when}: look for the cause in Ray's worker logs"
        )

    async def _next(self, prompt: bytes = b"") -> Any:
        """The engine of this prompt among those that are up; waits while all are starting.

        By rendezvous hashing: where an engine comes or goes, only its own prompts move.
        """
        since = time.monotonic()
        while True:
            self._look()
            if self._ready:
                return max(self._ready, key=lambda engine: blake2b(b"%d " % self._number[engine] + prompt).digest())
            if time.monotonic() - since > self.limit_s:
                raise EnginesGone(
                    f"expected an engine within {self.limit_s:.0f} s, found all {self.engines} still starting"
                    f"{f' (without a place are {named})' if (named := pending()) else ''}: add nodes, or raise "
                    "ray.start_timeout_s; what was finished is kept, run it again"
                )
            await asyncio.sleep(POLL_S)

    def _look(self) -> None:
        """Take in the engines that have come up. Raises the last one's failure where none is left to wait for."""
        waiting = list(self._starting)
        done = ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []
        for reference in done:
            engine = self._starting.pop(reference)
            try:
                ray.get(reference)
            except RayError as error:
                raised = isinstance(error, RayTaskError)
                self._why = str(in_one_sentence("the start of an engine", error)) if raised else DIES
                self._failed[engine] += 1
                if raised and self._failed[engine] < STARTS:  # one that dies has had Ray's retries
                    self._starting[engine.ready.remote()] = engine
            else:
                self._failed.pop(engine, None)
                self._ready.append(engine)
        if not self._ready and not self._starting:
            raise EnginesGone(self._why)

    def _down(self, engine: Any, error: RayError | None = None) -> None:
        """Ray is starting it again; it gets no calls until it is ready. Who waits is told where memory is why."""
        if engine in self._ready:
            self._ready.remove(engine)
            if error and (killed := short_of_memory(error)):
                log.warning("an engine starts again: %s; if it goes on, lower %s", killed, LESS)
            self._starting[engine.ready.options(max_task_retries=START_RETRIES).remote()] = engine


def _bytes(method: str, *arguments: Any) -> bytes:
    """What names a prompt. A reply that is worked out token by token stays where its beginning is."""
    prompt = arguments[0]
    text = prompt if isinstance(prompt, str) else "\0".join(map(str, prompt))
    return f"{text}\0{arguments[1] if method == 'score' else ''}".encode("utf-8", "surrogatepass")
