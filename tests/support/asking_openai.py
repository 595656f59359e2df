"""The 'openai' generator as its tests use it: one event loop a call, waits that are recorded and never slept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from wbrag.core.errors import WbragError
from wbrag.core.types import Completion, Message, Sampling
from wbrag.generators.openai import OpenAIGenerator

T = TypeVar("T")
PROMPT = [Message("system", "Be short."), Message("user", "Capital of France?")]
GREEDY = Sampling()
SECRET = "sk-proj-aVerySecretKey0123456789"


def make(url: str, waits: list[float] | None = None, model: str = "tiny", **settings: Any) -> OpenAIGenerator:
    """A generator whose jitter is always one half."""

    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    return OpenAIGenerator(model, url, sleep=sleep, uniform=lambda: 0.5, **settings)


def using(generator: OpenAIGenerator, work: Callable[[OpenAIGenerator], Awaitable[T]]) -> T:
    async def main() -> T:
        try:
            return await work(generator)
        finally:
            await generator.close()

    return asyncio.run(main())


def ask(generator: OpenAIGenerator, sampling: Sampling = GREEDY) -> Completion:
    return using(generator, lambda g: g.generate(PROMPT, sampling))


def refused(generator: OpenAIGenerator, work: Callable[[OpenAIGenerator], Awaitable[T]] | None = None) -> WbragError:
    """The one sentence it fails with."""
    with pytest.raises(WbragError) as caught:
        using(generator, work or (lambda g: g.generate(PROMPT, GREEDY)))
    assert "\n" not in str(caught.value)
    return caught.value
