"""The model out of a wheel: what is missing or damaged is one sentence, and nothing half-made is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbrag.cli.main import main
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.model_sections import GeneratorConfig
from wbrag.generators import model_path, smollm2


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WBRAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_lies_in_the_cache_by_its_contents(cache: Path) -> None:
    assert smollm2.folder() == cache / "models" / f"smollm2-{smollm2.GGUF_SHA256[:12]}"
    assert model_path(GeneratorConfig(model="smollm2")) == str(smollm2.folder())
    assert model_path(GeneratorConfig(model="smollm2", backend="openai", base_url="http://x/v1")) == "smollm2"


def test_what_is_made_is_not_made_again(cache: Path) -> None:
    smollm2.folder().mkdir(parents=True)
    (smollm2.folder() / "config.json").write_text("{}")
    assert smollm2.get(progress=False) == smollm2.folder()


def test_a_package_that_is_missing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None if name == "gguf" else object())
    with pytest.raises(UsageError, match="package gguf .*pip install 'wbrag\\[smollm2\\]'"):
        smollm2.get(progress=False)
    assert not cache.exists()


def test_other_weights_are_refused_and_nothing_is_left(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def another() -> Path:
        file = cache / "other.gguf"
        file.write_bytes(b"GGUF but not it")
        return file

    monkeypatch.setattr(smollm2, "find_spec", lambda name: object())
    monkeypatch.setattr(smollm2, "_installed", another)
    with pytest.raises(WbragError, match="expected other.gguf .*sha256 b179c9523d0e"):
        smollm2.get(progress=False)
    assert [file.name for file in (cache / "models").iterdir()] == []


def test_a_model_that_nobody_can_get(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["models", "get", "gpt-9"])
    assert "smollm2" in capsys.readouterr().err
