"""The embedded model as a Ray Serve LLM deployment: it must answer as the same model does in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
import ray
from ray import serve

from tests.support.engine import Engine
from tests.support.watched_llm import Watched
from wbrag.core.config import Config, load
from wbrag.core.errors import PromptTooLong, UsageError
from wbrag.core.types import Completion, Message, Messages, Sampling
from wbrag.executor.ray.quiet import quiet_start
from wbrag.generators.serve import ServeGenerator
from wbrag.serving.ray import llm
from wbrag.serving.ray.handles import chat_transport

pytestmark = [pytest.mark.integration, pytest.mark.slow]
FACTS = "The Corvane gauge was designed by Dina Ashmont. The Corvane gauge is made at the Torvale mill."
ASKED = ("Who designed the Corvane gauge?", "Where is the Corvane gauge made?", "Who is Maud Ultis?")
GREEDY = Sampling(max_tokens=24)


def prompts() -> list[Messages]:
    return [[Message("user", f"Doc 1(Title: Note) {FACTS}\nQuestion: {question}")] for question in ASKED]


@pytest.fixture
def config() -> Config:
    return load(generator={"timeout_s": 240})


@pytest.fixture
def handle(config: Config, no_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(llm, "CPUChatServer", Watched)
    with quiet_start():
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            namespace="serve",
        )
    try:
        serve.start(proxy_location="Disabled")
        app = llm.build_generator(config, False, {"name": "Generator", "num_replicas": 1, "health_check_period_s": 2})
        yield serve.run(app, name="llm", route_prefix=None)
    finally:
        with quiet_start():
            serve.shutdown()
            ray.shutdown()


def replica() -> int:
    [pid] = [p.pid for p in psutil.Process().children(recursive=True) if "ServeReplica:llm:Generator" in _name(p)]
    return pid


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return " ".join(process.cmdline())
    return ""


def test_it_answers_as_the_model_in_this_process_does(config: Config, handle: Any, engine: Engine) -> None:
    served, local = ServeGenerator(config.generator, chat_transport(handle), config.seed), engine.generator

    async def same() -> None:
        await served.start()
        for prompt in prompts():
            shown = Sampling(24, logprobs=2)
            here, there = await local.generate(prompt, shown), await served.generate(prompt, shown)
            assert (there.text, there.tokens, there.prompt_tokens) == (here.text, here.tokens, here.prompt_tokens)
            assert there.finish_reason == here.finish_reason and there.pieces == here.pieces
            assert there.logprobs == pytest.approx(here.logprobs, abs=1e-4)
            pieces = [piece async for piece in served.stream(prompt, GREEDY)]
            assert "".join(piece.text for piece in pieces) == here.text and len(pieces) > 1
            assert pieces[-1] == Completion("", here.tokens, here.prompt_tokens, here.finish_reason)
            mine, theirs = await local.score(prompt, "Dina Ashmont"), await served.score(prompt, "Dina Ashmont")
            assert theirs.logprob == pytest.approx(mine.logprob, abs=1e-3)
        assert served.fingerprint == local.fingerprint

    async def refusals() -> None:
        with pytest.raises(PromptTooLong):
            await served.generate([Message("user", "word " * 5000)], GREEDY)
        with pytest.raises(UsageError, match="no control over single tokens"):
            await served.next_tokens(prompts()[0], [], 3)
        with pytest.raises(UsageError, match="no control over single tokens"):
            await served.decode([1])

    async def settled(count: int) -> None:
        async with asyncio.timeout(60):
            while await handle.unfinished.remote() != count:
                await asyncio.sleep(0.02)

    async def cancelling() -> None:
        """The same prompt many times over: 16 long answers, all of which their callers give up."""
        long = Sampling(max_tokens=600, temperature=1.0)
        tasks = [asyncio.create_task(served.generate(prompts()[n % 3], Sampling(600, 1.0, seed=n))) for n in range(16)]
        await asyncio.sleep(0)
        stream = served.stream(prompts()[0], long)
        await anext(stream)
        await stream.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await settled(0)

    async def recovery() -> None:
        """A request whose replica dies is asked again, of the next one."""
        before = await served.generate(prompts()[0], GREEDY)
        os.kill(replica(), signal.SIGKILL)
        assert await served.generate(prompts()[0], GREEDY) == before

    async def everything() -> None:
        await same()
        await refusals()
        await cancelling()
        await recovery()

    engine.run(everything())
