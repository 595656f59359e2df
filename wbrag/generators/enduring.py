"""Enduring generator: an engine that dies is started again in this process, and a prompt that kills it is found.

Every call in flight at a death may be what caused it, so each of them is repeated with the engine to itself. A prompt
that then takes three engines down is at fault, and fails with `NoAnswer`; all others get their answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from wbrag.core.errors import EngineDied, NoAnswer, WbragError
from wbrag.core.model_sections import IN_FLIGHT
from wbrag.core.types import Generator
from wbrag.generators.lease import Lease
from wbrag.generators.one_door import OneDoor

log = logging.getLogger(__name__)
ALONE = 3  # deaths with nothing else at work that put a prompt at fault: two may be bad luck, on spot nodes
STARTS = 3  # failed in a row, and this process has no engine any more
CLOSING_S = 60.0  # for what is left of a dead engine


class EnduringGenerator(OneDoor):
    """The generator that `make` gives, and another whenever it dies.

    Raises `EngineDied` where none starts any more, `NoAnswer` for a prompt that kills it, and what it raises itself.
    """

    def __init__(self, make: Callable[[], Generator]) -> None:
        self.make, self.fingerprint, self.in_flight = make, "", IN_FLIGHT
        self._engine: Generator | None = None
        self._starting, self._turns = asyncio.Lock(), Lease()
        self._closed = False

    async def start(self) -> None:
        """Start the engine, or let a running one say that it still works; raises why it does not come up."""
        try:
            await (await self._started()).start()
        except EngineDied:
            await self._buried(self._engine)
            await self._again()

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Beside other calls; after a death under this one, alone."""
        try:
            async with self._turns.together():
                return await self._once(method, *arguments)
        except EngineDied:
            if self._closed:
                raise
        for _ in range(ALONE):
            try:
                async with self._turns.alone():
                    return await self._once(method, *arguments)
            except EngineDied:
                if self._closed:
                    raise
        raise NoAnswer(
            f"expected an engine to answer, found {ALONE} deaths with nothing else at work than this prompt: look at "
            "the engine's log and the free memory"
        )

    async def close(self) -> None:
        self._closed = True
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
        async with self._starting:
            if self._engine is None:
                if self._closed:
                    raise NoEngine("expected a running engine, found that it was closed: run the command again")
                engine = self.make()
                try:
                    await engine.start()
                except BaseException:
                    await _left(engine)
                    raise
                self._engine, self.fingerprint = engine, engine.fingerprint
                self.in_flight = getattr(engine, "in_flight", IN_FLIGHT)
            return self._engine

    async def _again(self) -> Generator:
        why = ""
        for _ in range(STARTS):
            try:
                return await self._started()
            except WbragError as error:
                why = str(error)
        raise NoEngine(f"expected the engine to start again, found that it does not: {why}")

    async def _buried(self, engine: Generator | None) -> None:
        """No call goes to it any more; the first to say so waits until its memory is free."""
        async with self._starting:
            if engine is None or self._engine is not engine:
                return
            self._engine = None
            log.warning("an engine has died, and another starts in its place")
            await _left(engine)


async def _left(engine: Generator) -> None:
    """Once its memory is free. Raises `NoEngine` where it does not go."""
    try:
        await asyncio.wait_for(engine.close(), CLOSING_S)
    except Exception as error:
        raise NoEngine(f"expected a dead engine to leave, found {type(error).__name__}: {error}") from None


class NoEngine(WbragError):
    """This process has no engine, and gets none any more."""
