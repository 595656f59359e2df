"""Enduring generator: an engine that dies is started again in this process, and a prompt that kills it is found.

Every call in flight at a death may be what caused it, so all of them are repeated with the engine to themselves, and,
where it dies again, in parts (`suspects.py`). A prompt that alone takes three engines down is at fault, and fails with
`NoAnswer`; all others get their answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from wbrag.core.errors import EngineDied, NoAnswer, WbragError
from wbrag.core.model_sections import IN_FLIGHT
from wbrag.core.types import Completion, Generator, Prompt, Sampling
from wbrag.generators.lease import Lease
from wbrag.generators.one_door import OneDoor
from wbrag.generators.suspects import ALONE, sift
from wbrag.generators.wrapper import GeneratorWrapper

log = logging.getLogger(__name__)
STARTS = 3  # failed in a row, and this process has no engine any more
CLOSING_S = 60.0  # for what is left of a dead engine
CLOSED = "expected a running engine, found that it was closed: run the command again"


class EnduringGenerator(OneDoor):
    """The generator that `make` gives, and another whenever it dies.

    Raises `NoEngine` where none starts any more, `NoAnswer` for a prompt that kills it, and what it raises itself.
    """

    def __init__(self, make: Callable[[], Generator]) -> None:
        self.make, self.fingerprint, self.in_flight = make, "", IN_FLIGHT
        self._engine: Generator | None = None
        self._making: asyncio.Task[Generator] | None = None  # nobody's who waits for it: they may leave
        self._turns = Lease()
        self._ran, self._failed, self._why = False, 0, ""  # starts that failed one after the other
        self._closed = False
        self._suspects: list[_Call] = []  # in flight at a death, and not yet settled
        self._settling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the engine, or let a running one say that it still works; raises why it does not come up."""
        engine = await self._started()
        try:
            await engine.start()
        except EngineDied:
            await self._buried(engine)
            await self._again()

    def check(self) -> None:
        """Raises `NoEngine` where one has run in this process, and none starts any more."""
        if self._ran and self._failed >= STARTS:
            raise NoEngine(f"expected the engine to start again, found that it does not: {self._why}")

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Beside other calls; after a death under this one, among fewer and fewer."""
        try:
            async with self._turns.together():
                return await self._once(method, *arguments)
        except EngineDied:
            if self._closed:
                raise
        return await self._suspected(method, *arguments)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        """The reply in pieces; whole, as of any other call, where an engine dies before the first of them.

        Raises `EngineDied` where one dies later.
        """
        begun = False
        try:
            async with self._turns.together():
                engine = self._engine or await self._again()
                async with aclosing(GeneratorWrapper(engine).stream(prompt, sampling)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
        except EngineDied:
            await self._buried(engine)
            if begun or self._closed:
                raise
        yield await self._suspected("generate", prompt, sampling)

    async def _suspected(self, method: str, *arguments: Any) -> Any:
        """The reply to a call that an engine has died under."""
        call = _Call(method, arguments, asyncio.get_running_loop().create_future())
        self._suspects.append(call)
        if self._settling is None or self._settling.done():
            self._settling = asyncio.ensure_future(self._settle())
        return await call.reply

    async def _settle(self) -> None:
        """All suspects there are, with the engine to themselves; those who still work may become some."""
        while self._suspects:  # none may come between this look and the end
            async with self._turns.alone():
                calls, self._suspects = self._suspects, []
                log.warning("an engine has died under %d calls, which are repeated in parts", len(calls))
                try:
                    await sift(calls, self._tried, self._blame)
                except BaseException as error:  # there is no engine any more, or it is closed
                    for call in (*calls, *self._suspects):
                        call.fail(error if isinstance(error, Exception) else NoEngine(CLOSED))
                    if not isinstance(error, Exception):
                        raise

    async def _tried(self, calls: Sequence[_Call]) -> list[_Call]:
        """The calls that the engine died under."""
        asked = [call for call in calls if not call.reply.done()]  # else its caller has left
        found = await asyncio.gather(*map(self._again_for, asked), return_exceptions=True)
        dead = []
        for call, reply in zip(asked, found, strict=True):
            if isinstance(reply, EngineDied) and not self._closed:
                dead.append(call)
            elif isinstance(reply, NoEngine):
                raise reply
            elif isinstance(reply, BaseException):
                call.fail(reply)
            elif not call.reply.done():
                call.reply.set_result(reply)
        return dead

    def _again_for(self, call: _Call) -> asyncio.Future[Any]:
        """Until its caller leaves."""
        work = asyncio.ensure_future(self._once(call.method, *call.arguments))
        call.reply.add_done_callback(lambda reply: reply.cancelled() and work.cancel())
        return work

    async def _blame(self, call: _Call) -> None:
        call.fail(
            NoAnswer(
                f"expected an engine to answer, found {ALONE} deaths with nothing else at work than this prompt: look "
                "at the engine's log and the free memory"
            )
        )

    async def close(self) -> None:
        self._closed = True
        for task in (self._settling, self._making):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._engine is not None:
            await self._engine.close()
            self._engine = None

    async def _once(self, method: str, *arguments: Any) -> Any:
        engine = self._engine or await self._again()
        try:
            return await getattr(engine, method)(*arguments)
        except EngineDied:
            await self._buried(engine)
            raise

    async def _started(self) -> Generator:
        while self._engine is None:  # one that was made may have died already
            if self._closed:
                raise NoEngine(CLOSED)
            self.check()
            if self._making is None or self._making.done():
                self._make_one()
            assert self._making is not None
            await asyncio.shield(self._making)
        return self._engine

    def _make_one(self, dead: Generator | None = None) -> None:
        self._making = asyncio.ensure_future(self._made(dead))
        self._making.add_done_callback(lambda made: made.cancelled() or made.exception())  # who wants to hear it, waits

    async def _made(self, dead: Generator | None) -> Generator:
        """Another engine, once the memory of the `dead` one is free."""
        if dead is not None:
            await _left(dead)
        engine = None
        try:
            engine = self.make()
            await engine.start()
        except BaseException as error:
            if isinstance(error, Exception):  # it was not closed meanwhile
                self._failed, self._why = self._failed + 1, str(error)
            if engine is not None:
                await _left(engine)
            raise
        self._ran, self._failed = True, 0
        self._engine, self.fingerprint = engine, engine.fingerprint
        self.in_flight = getattr(engine, "in_flight", IN_FLIGHT)
        return engine

    async def _again(self) -> Generator:
        while True:
            try:
                return await self._started()
            except WbragError as error:
                if isinstance(error, NoEngine) or not self._ran:
                    raise

    async def _buried(self, engine: Generator) -> None:
        """No call goes to it any more; the first to say so has another made, whoever may need it."""
        if self._engine is engine:
            self._engine = None
            log.warning("an engine has died, and another starts in its place")
            self._make_one(engine)


async def _left(engine: Generator) -> None:
    """Once its memory is free. Raises `NoEngine` where it does not go."""
    try:
        await asyncio.wait_for(engine.close(), CLOSING_S)
    except Exception as error:
        raise NoEngine(f"expected a dead engine to leave, found {type(error).__name__}: {error}") from None


@dataclass(frozen=True, eq=False)
class _Call:
    method: str
    arguments: tuple[Any, ...]
    reply: asyncio.Future[Any]

    def fail(self, error: BaseException) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class NoEngine(WbragError):
    """This process has no engine, and gets none any more."""
