"""Engine actors and their client: a killed engine costs time, a prompt that kills engines costs its row.

An engine that dies inside its living actor is started again there (`generators/enduring.py`). Where the actor's process
dies, Ray only restarts it; what happens to the calls is decided here, in `RemoteGenerator`, by whoever made them, as it
is for an engine: each is repeated alone, and a prompt that then takes three processes down is at fault. Rows run inside
the actor (`row_worker.py`), a block with one call.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, cast

from ray.exceptions import RayError, RayTaskError

from wbrag.core.config import Config
from wbrag.core.env import openmp
from wbrag.core.errors import NoAnswer, WbragError
from wbrag.core.types import Generator
from wbrag.executor.ray.engine_pool import EnginePool
from wbrag.executor.ray.failures import EnginesGone, NotUp, cause
from wbrag.executor.ray.row_worker import RowWorker, Told, Work
from wbrag.generators import build
from wbrag.generators.cached import CachedGenerator
from wbrag.generators.enduring import EnduringGenerator, NoEngine
from wbrag.generators.lease import Lease
from wbrag.generators.one_door import OneDoor
from wbrag.generators.suspects import ALONE

CALLS_AT_ONCE = 100_000  # at the actor's door; the generator inside keeps to its own `concurrency`
DEATHS = 100  # of engines, by others' prompts or by themselves, that one call waits through
PASSES = 2  # whose workers are kept: a pass is over when the next begins, up to its last rows
CLOSED = "expected a running engine, found that its job has closed it; what was finished is kept, run it again"


class EngineActor:
    """A generator of its own, a vLLM engine or a client of an endpoint, and the rows that ask it."""

    def __init__(self, config: Config) -> None:
        count = config.generator.engines[1]
        os.environ.update(openmp(count))  # before vLLM and torch read it
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind" if count > 1 else "auto"
        self.config = config
        self.generator: Generator | None = None
        self.engine = EnduringGenerator(partial(build, config))
        self.closed = False
        self._starting = asyncio.Lock()
        self._turns = Lease()
        self._workers: OrderedDict[str, asyncio.Task[RowWorker]] = OrderedDict()

    async def ready(self) -> int:
        """Start the engine, or let a running one say that it still works; a bad setting is refused here.

        Returns how many requests it works on at once.
        """
        async with self._starting:
            generator = self.generator or CachedGenerator(self.engine)
            await self._answer(generator, "start")
            self.generator = generator
        return self.engine.in_flight

    async def ask(self, method: str, *arguments: Any) -> Any:
        """`Generator`'s method of that name, beside other calls."""
        return await self.beside(method, *arguments)

    async def beside(self, method: str, *arguments: Any) -> Any:
        """The same, for rows that run in this process."""
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

    async def rows(self, work: Work, block: Sequence[str], proven: bool) -> Told:
        """Work on a whole block of rows here, beside the engine, and write its file; what it came to.

        `proven`: a row of this pass was finished, here or elsewhere. Raises `NotUp` where the engine does not start.
        """
        try:
            await self._running()
        except WbragError as error:
            raise error if self.closed else NotUp(str(error)) from None
        if work.name not in self._workers:
            self._workers[work.name] = asyncio.ensure_future(self._worker(work))
            while len(self._workers) > PASSES:
                self._workers.popitem(last=False)
        return await (await self._workers[work.name])(block, proven)

    async def _worker(self, work: Work) -> RowWorker:
        return await work.worker(_Own(self))

    async def close(self) -> None:
        """What fails from here on fails with `EnginesGone`: it is no row's fault that its engine was closed."""
        self.closed = True
        if self.generator is not None:
            await self.generator.close()
            self.generator = None

    async def _answer(self, generator: Generator, method: str, *arguments: Any) -> Any:
        """Where this process gets no engine any more it goes, and Ray starts both again."""
        if self.closed:
            raise EnginesGone(CLOSED)
        try:
            return await getattr(generator, method)(*arguments)
        except Exception as error:
            if self.closed:
                raise EnginesGone(CLOSED) from None
            if isinstance(error, NoEngine) and self.generator is not None:  # it has run here
                os._exit(1)
            raise

    async def _running(self) -> Generator:
        if self.generator is None:  # this actor was restarted
            await self.ready()
        return cast(Generator, self.generator)


class _Own(OneDoor):
    """An actor's engine, for rows that run beside it."""

    def __init__(self, actor: EngineActor) -> None:
        self.actor = actor

    @property
    def fingerprint(self) -> str:
        return self.actor.generator.fingerprint if self.actor.generator else ""

    async def start(self) -> None:
        await self.actor.ready()

    async def ask(self, method: str, *arguments: Any) -> Any:
        return await self.actor.beside(method, *arguments)

    async def close(self) -> None:
        """Its job closes it."""


class RemoteGenerator(OneDoor):
    """The `Generator` protocol over engine actors; a prompt goes to the same engine, whoever asks.

    Each engine remembers its replies, and two engines may differ in the last bit: so one prompt is one computation, and
    a pair of answers differs by the library alone. Raises `NoAnswer` for a prompt that kills engines, `EnginesGone`
    once no engine starts any more, and what the generator itself raises.
    """

    def __init__(self, pool: EnginePool, fingerprint: str) -> None:
        self.pool, self.fingerprint = pool, fingerprint

    async def start(self) -> None:
        """Ask an engine whether it works; the session has started them."""
        engine = (await self.pool.up())[0]
        try:
            await engine.ready.remote()
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            self.pool.down(engine, error)
            await self.pool.up()

    async def close(self) -> None:
        for engine in self.pool.engines:
            await engine.close.remote()

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Beside other calls; after a death under this one, alone."""
        prompt = _bytes(method, *arguments)
        engine = await self._next(prompt)
        try:
            return await engine.ask.remote(method, *arguments)
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            self.pool.down(engine, error)
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
                self.pool.down(engine, error)
        when = "with nothing else at work than this prompt" if alone == ALONE else "before this prompt had its turn"
        raise NoAnswer(
            f"expected an engine to answer, found {deaths} deaths {when}: look for the cause in Ray's worker logs"
        )

    async def _next(self, prompt: bytes = b"") -> Any:
        """The engine of this prompt among those that are up.

        By rendezvous hashing: where an engine comes or goes, only its own prompts move.
        """
        up, number = await self.pool.up(), self.pool.number
        return max(up, key=lambda engine: blake2b(b"%d " % number(engine) + prompt).digest())


def _bytes(method: str, *arguments: Any) -> bytes:
    """What names a prompt. A reply that is worked out token by token stays where its beginning is."""
    prompt = arguments[0]
    text = prompt if isinstance(prompt, str) else "\0".join(map(str, prompt))
    return f"{text}\0{arguments[1] if method == 'score' else ''}".encode("utf-8", "surrogatepass")
