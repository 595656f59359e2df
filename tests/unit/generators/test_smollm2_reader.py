"""The reader that ships: small, named by its adapter, and strange to the questions that it is evaluated on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.shared_data import ABSENT, BENCH
from wbrag.cli.commands import models
from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.core.model_sections import GeneratorConfig
from wbrag.generators import MADE, generator_fingerprint, lora, model_path, smollm2_reader, vllm

FOLDER = smollm2_reader.adapter()
SEEN = json.loads((FOLDER / "seen.json").read_text(encoding="utf-8"))
SETS = ("nq", "squad", "boolq", "fever")


def test_it_is_small_and_whole() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 12 * 2**20
    record = json.loads((FOLDER / "reader.json").read_text(encoding="utf-8"))
    assert record["model"] == "smollm2" and lora.rank(FOLDER) == record["settings"]["rank"]
    assert {"gold passages alone, em", "five documents, em", "evidence word for word", "rewrite grounded"} <= {
        one["name"] for one in record["quality"]["after"]
    }


def test_it_is_named_by_what_it_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBRAG_CACHE", str(tmp_path))
    merged = tmp_path / "models" / f"smollm2-reader-{smollm2_reader.contents()}"
    assert model_path(GeneratorConfig(model="smollm2-reader")) == str(merged)
    names = {generator_fingerprint(load(generator={"model": name})) for name in ("smollm2", "smollm2-reader")}
    assert len(names) == 2


@pytest.mark.skipif(not BENCH.is_dir(), reason=ABSENT)
@pytest.mark.parametrize("name", SETS)
def test_it_never_saw_what_it_is_evaluated_on(name: str) -> None:
    """Neither questions nor their gold passages, as distractors either: it would know them closed book."""
    kept = [
        json.loads(line)
        for file in ("train.related.jsonl", "dev.related.jsonl", "dev.jsonl")
        for line in (BENCH / name / file).read_text(encoding="utf-8").splitlines()
    ]
    questions = {id for of, ids in SEEN["questions"].items() if of.startswith(f"{name}/") for id in ids}
    assert len(kept) > 400 and questions.isdisjoint(row["id"] for row in kept)
    passages = {id.partition("#")[0] for id in SEEN["passages"]}
    assert len(passages) > 1000 and passages.isdisjoint(id for row in kept for id in row["metadata"]["gold"])


def test_an_adapter_stays_merged_when_an_engine_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU: a first start that fails must not leave the base model answering under the adapter's name."""
    started: list[tuple[str | None, str]] = []

    def start(settings: GeneratorConfig, path: str, seed: int) -> object:
        started.append((settings.adapter, path))
        if len(started) == 1:
            raise RuntimeError("no memory")
        return object()

    monkeypatch.setattr(vllm, "_on_cpu", lambda: True)
    monkeypatch.setattr(vllm, "fetched", lambda settings: "")
    monkeypatch.setattr(vllm, "_start_engine", start)
    monkeypatch.setattr(vllm, "die_with_this_process", lambda: None)
    monkeypatch.setattr(lora, "merged", lambda base, adapter, revision: tmp_path / "merged")
    engine = vllm.VLLMGenerator(GeneratorConfig(model="smollm2", adapter=str(FOLDER)))
    with pytest.raises(WbragError, match="no memory"):
        asyncio.run(engine._load())
    engine._starting = asyncio.Lock()
    asyncio.run(engine._load())
    assert started == [(None, str(tmp_path / "merged"))] * 2 and engine._adapter() == {}


def test_the_command_line_knows_every_model_that_is_made() -> None:
    assert set(models.MADE) == set(MADE)
