"""vLLM's own options reach its engine: one without weights answers with dummy ones."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wbrag.core.errors import EngineDied, UsageError
from wbrag.core.model_sections import EngineConfig, GeneratorConfig
from wbrag.core.types import Message, Sampling
from wbrag.generators import model_path, vllm
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


def test_a_base_model_stops_at_the_end_of_its_line(tmp_path: Path) -> None:
    """The embedded model without its chat template goes on writing, as base models do."""
    ignored = shutil.ignore_patterns("chat_template*", "*.safetensors")
    shutil.copytree(model_path(GeneratorConfig()), tmp_path / "m", ignore=ignored)
    settings = tmp_path / "m" / "tokenizer_config.json"
    kept = {name: value for name, value in json.loads(settings.read_text()).items() if name != "chat_template"}
    settings.write_text(json.dumps(kept))

    async def main() -> None:
        generator = VLLMGenerator(GeneratorConfig(model=str(tmp_path / "m"), engine=EngineConfig(load_format="dummy")))
        prompt = [Message("system", "Be short."), Message("user", "Who?")]
        try:
            template = await generator._template()
            assert template.base and template.tokenizer.decode(template.ids(prompt)).endswith("Who?\nAnswer:")
            line, more = Sampling(max_tokens=5, one_line=True), Sampling(max_tokens=5, stop=("x",))
            assert generator._params(line, template).stop == ["\n"] and generator._params(more, template).stop == ["x"]
            assert "\n" not in (await generator.generate(prompt, line)).text
        finally:
            await generator.close()

    asyncio.run(main())


def test_a_loader_that_is_not_installed_is_named(tmp_path: Path) -> None:
    generator = VLLMGenerator(GeneratorConfig(engine=EngineConfig(load_format="runai_streamer")))
    with pytest.raises(UsageError, match="runai_model_streamer .*pip install runai-model-streamer"):
        asyncio.run(generator.start())


def test_an_engine_that_hangs_is_a_dead_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "STALLED_S", 0.2)

    async def never(*arguments: Any) -> AsyncGenerator[Any]:
        await asyncio.Event().wait()
        yield

    async def main() -> None:
        generator = VLLMGenerator(GeneratorConfig())
        generator._engine = SimpleNamespace(generate=never, model_config=SimpleNamespace(max_model_len=99))
        with pytest.raises(EngineDied, match="no word of its engine"):
            await generator._run([1, 2], SimpleNamespace(max_tokens=3))

    asyncio.run(main())
