"""Fixture (`pytest_plugins`): the embedded model under vLLM in this process, one engine for all that can share it.

It lives in one event loop, in which the tests run their coroutines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from wbrag.core.model_sections import GeneratorConfig
from wbrag.generators.vllm import VLLMGenerator

T = TypeVar("T")


@dataclass
class Engine:
    generator: VLLMGenerator
    loop: asyncio.Runner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with asyncio.Runner() as loop:
        generator = VLLMGenerator(GeneratorConfig())
        yield Engine(generator, loop)
        loop.run(generator.close())
