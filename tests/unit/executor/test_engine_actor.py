"""An engine that is closed under its callers: they hear so, and nothing starts it again. No Ray is started."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.scripted import ScriptedGenerator
from wbrag.core.config import load
from wbrag.core.errors import NoAnswer
from wbrag.core.types import Message, Sampling
from wbrag.executor.ray.engines import EngineActor
from wbrag.executor.ray.failures import EnginesGone

ASKED = ("generate", [Message("user", "who?")], Sampling())


class Closing(ScriptedGenerator):
    """A call under way fails when the client closes, as those of an endpoint do."""

    async def generate(self, *arguments: Any) -> Any:
        while not self.closed:
            await asyncio.sleep(0)
        raise NoAnswer("the connection was closed")


def actor_of(generator: Any, monkeypatch: pytest.MonkeyPatch) -> EngineActor:
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "VLLM_CPU_OMP_THREADS_BIND"):  # an actor has its own process
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("wbrag.executor.ray.engines.build", lambda config: generator)
    return EngineActor(load())


def test_calls_under_way_end_with_the_job_and_not_with_an_error_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = actor_of(Closing(lambda messages, sampling: "an answer"), monkeypatch)

    async def main() -> None:
        await actor.ready()
        under_way = asyncio.create_task(actor.ask(*ASKED))
        await asyncio.sleep(0.01)
        await actor.close()
        with pytest.raises(EnginesGone, match="its job has closed it"):
            await under_way
        with pytest.raises(EnginesGone, match="its job has closed it"):
            await actor.ask(*ASKED)
        assert actor.generator is None, "it was started again"

    asyncio.run(main())


def test_a_failure_of_an_open_engine_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = ScriptedGenerator(lambda messages, sampling: "an answer", failures={0: NoAnswer("down")})
    actor = actor_of(generator, monkeypatch)

    async def main() -> None:
        with pytest.raises(NoAnswer, match="^down$"):
            await actor.ask(*ASKED)
        assert (await actor.ask(*ASKED)).text == "an answer"

    asyncio.run(main())
