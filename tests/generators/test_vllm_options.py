"""vLLM's own options reach its engine: one without weights answers with dummy ones."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from wbrag.errors import WbragError
from wbrag.generators import model_path
from wbrag.generators.vllm import VLLMGenerator
from wbrag.sections import GeneratorConfig
from wbrag.types import Message, Sampling

pytestmark = pytest.mark.integration


def test_a_model_folder_without_weights_answers_with_dummy_ones(tmp_path: Path) -> None:
    shutil.copytree(model_path(GeneratorConfig()), tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors"))

    async def main() -> None:
        generator = VLLMGenerator(GeneratorConfig(model=str(tmp_path / "m"), engine_options={"load_format": "dummy"}))
        try:
            reply = await generator.generate([Message("user", "Question: who?")], Sampling(max_tokens=5))
            assert reply.tokens == 5
        finally:
            await generator.close()

    asyncio.run(main())


def test_an_option_that_vllm_does_not_know_is_named(tmp_path: Path) -> None:
    generator = VLLMGenerator(GeneratorConfig(engine_options={"quantisation": "fp8"}))
    with pytest.raises(WbragError, match="quantisation"):
        asyncio.run(generator.start())
