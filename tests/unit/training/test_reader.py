"""Reader training on the embedded model: the reply alone is learned, a killed training goes on, the adapter merges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from wbrag.core.config import load
from wbrag.core.errors import UsageError
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.train_sections import ReaderConfig
from wbrag.executor.readings import archive
from wbrag.generators import generator_fingerprint, model_path
from wbrag.generators.chat_template import ChatTemplate
from wbrag.generators.lora import CONFIG, WEIGHTS, contents, keep, loaded, merge, rank
from wbrag.training.course import ReadingCourse
from wbrag.training.exercises import Taught, exercise
from wbrag.training.fit import Learned, fit_here
from wbrag.training.reader import UNTAUGHT, fitting, row

torch.set_num_threads(1)
BASE = Path(model_path(GeneratorConfig()))


def taught(count: int, seed: int) -> Taught:
    return Taught.of(one for found in archive(count, seed) if (one := exercise(found, 0, kind="evidence")))


def course(**options: object) -> ReadingCourse:
    settings = ReaderConfig(**{"rank": 4, "alpha": 8, "batch": 4, "learning_rate": 1e-3, **options})  # type: ignore[arg-type]
    return ReadingCourse(GeneratorConfig(model=str(BASE)), settings, 0, taught(16, 0), taught(3, 1))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return fit_here(course(epochs=2), tmp_path_factory.mktemp("reader") / "t", lambda done, total: None)


def test_only_the_reply_is_learned() -> None:
    template = ChatTemplate(AutoTokenizer.from_pretrained(BASE), {})
    one = taught(1, 0)
    found = row(one.prompts[0], one.replies[0], template)
    said = [token for token, label in zip(found["input_ids"], found["labels"], strict=True) if label != UNTAUGHT]
    assert template.tokenizer.decode(said[:-1]) == one.replies[0] and said[-1] == template.tokenizer.eos_token_id
    asked = found["input_ids"][: -len(said)]
    assert template.tokenizer.decode(asked).count("Retrieved passages:") == 1


def test_a_model_that_thinks_learns_to_end_it() -> None:
    template = ChatTemplate(AutoTokenizer.from_pretrained(BASE), {})
    template.tokenizer.chat_template = "{{ messages[-1].content }}\n<think>\n"
    one = taught(1, 0)
    found = row(one.prompts[0], one.replies[0], template)
    said = [token for token in found["labels"] if token != UNTAUGHT]
    assert template.tokenizer.decode(said[:-1]) == f"</think>\n\n{one.replies[0]}"


def test_what_is_longer_than_the_limit_is_left_out() -> None:
    made = [one for found in archive(20, 0) if (one := exercise(found, 0, kind="documents"))]
    assert fitting(made, GeneratorConfig(), 10_000) == made and not fitting(made, GeneratorConfig(), 64)


def test_the_loss_falls_and_the_adapter_is_small(learned: Learned, tmp_path: Path) -> None:
    first, best = learned.curves.stopping[0][1], min(loss for _, loss in learned.curves.stopping)
    assert best < first
    keep(learned.folder, tmp_path, "some/model")
    weights = load_file(tmp_path / WEIGHTS)
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16} and rank(tmp_path) == 4
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "some/model" and str(BASE) not in json.dumps(config)


@pytest.mark.slow
def test_a_killed_training_goes_on(tmp_path: Path, learned: Learned) -> None:
    def killed(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_here(course(epochs=2), tmp_path / "t", killed)
    steps: list[int] = []
    resumed = fit_here(course(epochs=2), tmp_path / "t", lambda done, total: steps.append(done))
    assert steps[0] > 1
    np.testing.assert_allclose(resumed.curves.stopping, learned.curves.stopping, atol=1e-5)


def test_a_merged_model_says_what_base_and_adapter_say(learned: Learned, tmp_path: Path) -> None:
    from peft import PeftModel

    merge(str(BASE), str(learned.folder), tmp_path / "merged")
    with pytest.raises(UsageError, match="expected a new folder for the merged model"):
        merge(str(BASE), str(learned.folder), tmp_path / "merged")
    ids = torch.tensor([AutoTokenizer.from_pretrained(tmp_path / "merged").encode("Who built the Corvane gauge?")])
    plain = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.inference_mode():
        base, one = plain(ids).logits, merged(ids).logits
        both = PeftModel.from_pretrained(plain, str(learned.folder))(ids).logits
    assert not torch.allclose(base, one, atol=1e-3)
    torch.testing.assert_close(both, one, atol=2e-2, rtol=0)


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found no adapter_config.json: check generator.adapter"):
        generator_fingerprint(load(generator={"adapter": str(tmp_path)}))
    (tmp_path / WEIGHTS).touch()
    (tmp_path / CONFIG).write_text("[]")
    with pytest.raises(UsageError, match="with a rank r"):
        rank(tmp_path)
    before = generator_fingerprint(load(generator={"adapter": str(tmp_path)}))
    (tmp_path / "reader.json").write_text("{}")
    assert generator_fingerprint(load(generator={"adapter": str(tmp_path)})) == before != generator_fingerprint(load())
    assert [name for name, _ in contents(str(tmp_path))] == [CONFIG, WEIGHTS]
    with pytest.raises(UsageError, match="an adapter only with backend vllm"):
        load(generator={"backend": "openai", "base_url": "http://x/v1", "adapter": str(tmp_path)})
    with pytest.raises(UsageError, match="expected a causal language model with safetensors"):
        loaded(str(tmp_path / "none"), None, "auto")
