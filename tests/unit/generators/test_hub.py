"""A hub model's name stands for one commit, which is recorded and loaded; the cache's layout is the hub's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbrag.core.config import load
from wbrag.core.model_sections import GeneratorConfig
from wbrag.generators import generator_fingerprint, reply_fingerprint
from wbrag.generators.hub import commit_of, pinned

ONE, TWO = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--org--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(ONE)
    (refs / "v2").write_text(TWO)
    return tmp_path


def test_a_branch_is_the_commit_that_lies_in_the_cache(cache: Path) -> None:
    assert commit_of(GeneratorConfig(model="org/model")) == ONE
    assert commit_of(GeneratorConfig(model="org/model", revision="v2")) == TWO
    assert commit_of(GeneratorConfig(model="org/model", revision=TWO)) == TWO
    assert pinned(GeneratorConfig(model="org/model")).revision == ONE


def test_nobody_can_say(cache: Path) -> None:
    assert commit_of(GeneratorConfig(model="org/other")) == ""
    assert pinned(GeneratorConfig(model="org/other", revision="x")).revision == "x"


def test_folders_and_endpoints_have_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit_of(GeneratorConfig(model="embedded")) == commit_of(GeneratorConfig(model="smollm2")) == ""
    assert commit_of(GeneratorConfig(model="org/model", backend="openai", base_url="http://x/v1")) == ""
    (cache / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(cache)
    assert commit_of(GeneratorConfig(model="org/model")) == ""


def test_another_commit_is_another_model_whose_old_runs_stay_found(cache: Path) -> None:
    main, other = (load(generator={"model": "org/model", "revision": revision}) for revision in (None, "v2"))
    assert reply_fingerprint(main) != reply_fingerprint(other)
    named = load(generator={"model": "org/model", "revision": ONE})
    assert reply_fingerprint(main) == reply_fingerprint(named), "the same weights by another name"
    assert generator_fingerprint(main) == generator_fingerprint(main.model_copy()), "as version 0.1 had it"
