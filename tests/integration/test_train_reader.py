"""A reader is taught on the archive, with vLLM serving the adapter and the merged model; nothing kept apart is seen."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from wbrag.core.config import Config, load
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.types import Message, Sampling, Scored
from wbrag.enrich.usefulness import gold_ids
from wbrag.evaluation.demo_world import prepare
from wbrag.evaluation.report.reader_tables import tables
from wbrag.executor.reader import RECORD, SEEN, ReaderResult
from wbrag.generators import generator_fingerprint
from wbrag.generators.lora import merge
from wbrag.generators.vllm import VLLMGenerator
from wbrag.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.slow]
READER = {"exercises": 240, "archive": 0.75, "measured": 12, "rank": 4, "alpha": 8, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, ReaderResult]:
    folder = tmp_path_factory.mktemp("reader")
    with Workspace(folder, load(train={"reader": READER})) as w:
        prepare(w.layout, limit=140)
        w.index()
        return w, w.train_reader(["demo/train"], apart=["demo/test"])


def test_it_is_kept_with_what_it_saw_and_how_it_reads(trained: tuple[Workspace, ReaderResult]) -> None:
    w, found = trained
    assert found.curves.stopping[-1][1] < found.curves.stopping[0][1]
    seen = json.loads((found.folder / SEEN).read_text())
    apart = w.examples("demo/test")
    assert set(seen["questions"]) == {"archive", "demo/train"}
    assert not {e.id for e in apart} & set(seen["questions"]["demo/train"])
    assert not {id for e in apart for id in gold_ids(e)} & set(seen["passages"])
    record = json.loads((found.folder / RECORD).read_text())
    assert record["apart"] == ["demo/test"] and sum(record["exercises"].values()) > 100
    names = {one.name for one in found.before}
    assert {"closed book, em", "five documents, acc", "evidence word for word", "rewrite grounded"} <= names
    assert all(one.n >= 10 for one in found.after)
    assert names == {one.name for one in found.after} and "--generator.adapter" in str(tables(found))


def test_adapter_and_merged_model_answer_alike(
    trained: tuple[Workspace, ReaderResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is served on a GPU too, which no CPU does of itself."""
    w, found = trained
    monkeypatch.setattr(VLLMGenerator, "_whole", lambda self: (self.settings, self.path))
    merge(str(Path(generator_folder())), str(found.folder), tmp_path / "merged")
    prompt = [Message("user", f"Who is behind {e.question}") for e in w.examples("demo/test", 1)]
    adapted, merged = (
        asyncio.run(scored(load(generator=settings), prompt))
        for settings in ({"adapter": str(found.folder)}, {"model": str(tmp_path / "merged")})
    )
    assert adapted.logprob == pytest.approx(merged.logprob, abs=0.05)
    before, after = ({one.name: one.mean for one in part} for part in (found.before, found.after))
    assert before != after, "the engine read with the adapter as without it"
    assert len({generator_fingerprint(load(generator=g)) for g in ({}, {"adapter": str(found.folder)})}) == 2


def test_bad_input_is_one_sentence(trained: tuple[Workspace, ReaderResult], tmp_path: Path) -> None:
    w, _ = trained
    with pytest.raises(UsageError, match="that name their gold passages and are not kept apart, found none"):
        w.train_reader(["demo/train"], apart=["demo/train"])
    with pytest.raises(WbragError, match="expected examples 'demo/none'"):
        w.train_reader(["demo/none"])
    few = w.config.model_copy(update={"train": load(train={"reader": {"exercises": 30}}).train})
    with Workspace(w.path, few) as other, pytest.raises(WbragError, match="expected at least 100 questions .* found"):
        other.train_reader(["demo/train"])
    endpoint = load(generator={"backend": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"})
    with Workspace(w.path, endpoint) as other, pytest.raises(UsageError, match="found generator.backend openai"):
        other.train_reader(["demo/train"])


def generator_folder() -> str:
    from wbrag.generators import model_path

    return model_path(load().generator)


async def scored(config: Config, prompt: list[Message]) -> Scored:
    engine = VLLMGenerator(config.generator)
    try:
        await engine.generate(prompt, Sampling(max_tokens=4))
        return await engine.score(prompt, "Odran Pell")
    finally:
        await engine.close()
