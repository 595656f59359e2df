"""vLLM's own options reach its engine: one without weights answers with dummy ones."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from wbrag.core.sections import EngineConfig, GeneratorConfig
from wbrag.core.types import Message, Sampling
from wbrag.generators import model_path
from wbrag.generators.vllm import VLLMGenerator

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_a_model_folder_without_weights_answers_with_dummy_ones(tmp_path: Path) -> None:
    shutil.copytree(model_path(GeneratorConfig()), tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors"))

    async def main() -> None:
        generator = VLLMGenerator(GeneratorConfig(model=str(tmp_path / "m"), engine=EngineConfig(load_format="dummy")))
        try:
            reply = await generator.generate([Message("user", "Question: who?")], Sampling(max_tokens=5))
            assert reply.tokens == 5
        finally:
            await generator.close()

    asyncio.run(main())
