"""Two models are told apart by what they are, not by what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbrag.core.config import load
from wbrag.core.io import files
from wbrag.generators import generator_fingerprint, reply_fingerprint


def test_a_model_folder_counts_by_its_contents(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")

    def found(name: str) -> str:
        return generator_fingerprint(load(generator={"model": str(tmp_path / name)}))

    assert found("a") == found("b")
    (tmp_path / "b" / "quality.json").write_text("{}")
    assert found("a") == found("b")
    (tmp_path / "b" / "model.safetensors").write_bytes(b"others!")
    assert found("a") != found("b")


def test_two_checkpoints_too_large_to_read_in_passing_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "HASH_WHOLE_BYTES", 1000)
    monkeypatch.setattr(files, "SAMPLE_BYTES", 100)
    weights = bytes(5000)
    for name, content in (("a", weights), ("b", weights[:2550] + b"x" + weights[2551:]), ("c", weights + b"x")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    assert len({str(files.model_contents(tmp_path / name)) for name in "abc"}) == 3


def test_an_endpoint_counts_by_its_names() -> None:
    def found(**settings: object) -> str:
        return generator_fingerprint(load(generator={"backend": "openai", "model": "m", **settings}))

    assert found(base_url="http://a/v1") != found(base_url="http://b/v1")
    assert found(base_url="http://a/v1") == found(base_url="http://a/v1")


def test_engine_settings_count_where_they_are_used_and_none_are_as_before_there_were_any() -> None:
    fp8 = {"engine": {"quantization": "fp8"}}
    assert generator_fingerprint(load(generator={"engine": {}})) == generator_fingerprint(load())
    assert generator_fingerprint(load(generator=fp8)) != generator_fingerprint(load())
    endpoint = {"backend": "openai", "model": "m", "base_url": "http://a/v1"}
    assert generator_fingerprint(load(generator=endpoint | fp8)) == generator_fingerprint(load(generator=endpoint))


def test_dummy_weights_decide_replies() -> None:
    real, dummy = (load(generator={"engine": engine}) for engine in ({}, {"load_format": "dummy"}))
    assert reply_fingerprint(real) != reply_fingerprint(dummy)
    assert reply_fingerprint(real) == reply_fingerprint(load(generator={"engine": {"load_format": "safetensors"}}))
