"""Questions by NumPy have the vectors that sentence-transformers give, or are left to them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tiny_bert import save_encoder
from wbrag.core.errors import WbragError
from wbrag.core.model_sections import EncoderConfig
from wbrag.retrieval.encoder import Encoder, path_of
from wbrag.retrieval.query_encoder import LazyEncoder, NumpyEncoder, open_numpy

CLOSE, WEIGHTS = 2e-6, "model.safetensors"
WORDS = ["who", "wrote", "the", "rule", "##s"]


@cache
def embedded() -> tuple[NumpyEncoder, Encoder]:
    found = open_numpy(EncoderConfig())
    assert found is not None
    return found, Encoder(EncoderConfig(dtype="float32"))


def apart(ours: NumpyEncoder, theirs: Encoder, questions: list[str]) -> float:
    expected = np.concatenate([theirs.encode_queries([question]) for question in questions])
    found = ours.encode_queries(questions)
    assert found.dtype == np.float32 and found.shape == expected.shape
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize(
    "question",
    [
        "Who put the Ilgan rule on paper?",
        "",
        " ",
        "[SEP] [MASK] [CLS]",
        "Wörter, 日本語 und \u0627\u0644",
        "a\x00b\ufffd",
        "x " * 700,
    ],
)
def test_the_embedded_encoders_vectors(question: str) -> None:
    assert apart(*embedded(), [question]) < CLOSE


@settings(max_examples=30)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=3))
def test_any_texts_vectors(questions: list[str]) -> None:
    assert apart(*embedded(), questions) < CLOSE


def copy(folder: Path, changed: Callable[[dict[str, Any]], None] = lambda files: None) -> Path:
    """The embedded encoder with other settings: its JSON files by their names."""
    shutil.copytree(path_of("embedded"), folder, ignore=shutil.ignore_patterns(WEIGHTS))
    (folder / WEIGHTS).symlink_to(Path(path_of("embedded")) / WEIGHTS)
    files = {str(file.relative_to(folder)): json.loads(file.read_text()) for file in folder.rglob("*.json")}
    changed(files)
    for name, found in files.items():
        (folder / name).write_text(json.dumps(found))
    return folder


def cls(files: dict[str, Any]) -> None:
    files["1_Pooling/config.json"] |= {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}


def prompts(files: dict[str, Any]) -> None:
    files["config_sentence_transformers.json"]["prompts"] = {"query": "question: ", "document": "text: "}


def stored_anew(files: dict[str, Any]) -> None:
    """As newer versions of sentence-transformers write it."""
    files["1_Pooling/config.json"] = {"embedding_dimension": 384, "pooling_mode": "mean", "include_prompt": True}
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    files["sentence_bert_config.json"] = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": text},
        "module_output_name": "token_embeddings",
    }


def plain(files: dict[str, Any]) -> None:
    files["modules.json"].pop()


@pytest.mark.parametrize("change", [cls, prompts, stored_anew, plain])
def test_variants(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    asked = EncoderConfig(model=str(copy(tmp_path / "model", change)), dtype="float32", max_tokens=12)
    ours = open_numpy(asked)
    assert ours is not None
    assert apart(ours, Encoder(asked), ["Who put the Ilgan rule on paper?", "rule " * 40]) < CLOSE


def test_an_encoder_made_here(tmp_path: Path) -> None:
    save_encoder(tmp_path, WORDS)
    asked = EncoderConfig(model=str(tmp_path / "model"), dtype="float32", max_tokens=32)
    ours = open_numpy(asked)
    assert ours is not None
    assert apart(ours, Encoder(asked), ["who wrote the rule", "nobody [SEP] knows", ""]) < CLOSE


def setting(file: str, **changed: Any) -> Callable[[dict[str, Any]], None]:
    return lambda files: files[file].update(changed)


@pytest.mark.parametrize(
    "change",
    [
        setting("config.json", model_type="mpnet"),
        setting("config.json", hidden_act="relu"),
        setting("config.json", position_embedding_type="relative_key"),
        setting("config.json", auto_map={"AutoModel": "code.Model"}),
        setting("config.json", max_position_embeddings=64),
        setting("config.json", num_hidden_layers=5),
        setting("sentence_bert_config.json", do_lower_case=True),
        setting("sentence_bert_config.json", new_setting=1),
        setting("1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_max_tokens=True),
        setting("1_Pooling/config.json", pooling_mode_cls_token=True),
        setting("config_sentence_transformers.json", default_prompt_name="query", prompts={"query": "q: "}),
        setting("tokenizer_config.json", do_lower_case=False),
        setting("tokenizer_config.json", tokenizer_class="OtherTokenizer"),
        lambda files: files["modules.json"].append(
            {"idx": 3, "path": "3", "type": "sentence_transformers.models.Dense"}
        ),
    ],
)
def test_what_is_not_known_is_left_to_them(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    folder = copy(tmp_path / "model", change)
    assert open_numpy(EncoderConfig(model=str(folder))) is None


@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"model": "somebody/encoder"}])
def test_what_is_asked_otherwise_too(settings: dict[str, Any]) -> None:
    assert open_numpy(EncoderConfig(**settings)) is None


@pytest.mark.parametrize("file", ["config.json", "modules.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_folder_is_told_by_whoever_loads_it_whole(file: str, tmp_path: Path) -> None:
    folder = copy(tmp_path / "model")
    start = (folder / file).read_bytes()[:100]
    (folder / file).unlink()  # the weights are a link
    (folder / file).write_bytes(start)
    lazy = LazyEncoder(EncoderConfig(model=str(folder)))
    with pytest.raises(WbragError, match="expected a sentence-transformers encoder"):
        lazy.encode_queries(["x"])


def test_passages_are_encoded_by_the_whole() -> None:
    texts = ["The Ilgan rule\nIt was written by Frida Pelgan."]
    asked = EncoderConfig(dtype="float32")
    assert np.array_equal(LazyEncoder(asked).encode_passages(texts), Encoder(asked).encode_passages(texts))


def test_a_question_loads_no_torch() -> None:
    """It takes seconds."""
    script = (
        "import sys; from wbrag.core.model_sections import EncoderConfig as C; "
        "from wbrag.retrieval.query_encoder import LazyEncoder as L; "
        "L(C()).encode_queries(['x']); print([m for m in ('torch', 'transformers', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
