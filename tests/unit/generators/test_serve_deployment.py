"""The generator that asks a Ray Serve deployment: no network, and a dead replica's request is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from wbrag.core.config import load
from wbrag.core.errors import PromptTooLong, WbragError
from wbrag.core.retry import REPLICAS
from wbrag.core.types import Message, Sampling
from wbrag.generators.serve import ServeGenerator

TRIES = REPLICAS.max_attempt_number
ASKED = [Message("user", "Who?")]


def reply(text: str) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


class Deployment:
    """Answers `parts` after dying `deaths` times; remembers what it was asked."""

    def __init__(self, *parts: dict[str, Any], deaths: int = 0) -> None:
        self.parts, self.deaths = parts, deaths
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        self.asked.append(body)
        if len(self.asked) <= self.deaths:
            raise ConnectionError("the replica died")
        for part in self.parts:
            yield part


def generator(deployment: Deployment) -> ServeGenerator:
    return ServeGenerator(load(generator={"timeout_s": 5}).generator, deployment, seed=7)


def test_start_and_generate_ask_the_deployment() -> None:
    deployment = Deployment(reply("Ada"))
    served = generator(deployment)

    async def run() -> None:
        await served.start()
        done = await served.generate(ASKED, Sampling(max_tokens=4))
        assert (done.text, done.tokens, done.prompt_tokens, done.finish_reason) == ("Ada", 2, 3, "stop")

    asyncio.run(run())
    first, second = deployment.asked
    assert (second["model"], second["max_tokens"], second["seed"]) == ("embedded", 4, 7)
    assert first["request_id"] != second["request_id"]


def test_a_request_whose_replica_died_is_asked_again_a_few_times() -> None:
    deployment = Deployment(reply("Ada"), deaths=TRIES - 1)
    assert asyncio.run(generator(deployment).generate(ASKED, Sampling())).text == "Ada"
    dead = Deployment(reply("Ada"), deaths=TRIES)
    with pytest.raises(WbragError, match="found its replica gone: ask again"):
        asyncio.run(generator(dead).generate(ASKED, Sampling()))
    assert len(dead.asked) == TRIES


@pytest.mark.parametrize(
    ("said", "kind"), [("the maximum context length is 512 tokens", PromptTooLong), ("no such adapter", WbragError)]
)
def test_a_refusal_is_the_engines_own_words(said: str, kind: type[WbragError]) -> None:
    with pytest.raises(kind, match=said):
        asyncio.run(generator(Deployment({"error": {"message": said}})).generate(ASKED, Sampling()))
