"""Where settings come from, and what is said about wrong ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from wbrag.core.config import Config, flags, load
from wbrag.core.errors import UsageError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.sections import ChecksConfig, EnrichConfig


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WBRAG_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def yaml(tmp_path: Path) -> Path:
    return tmp_path / "wbrag.yaml"


def test_defaults_are_the_papers() -> None:
    enrich = load().enrich
    assert (enrich.top_k, enrich.tau_s, enrich.tau_delta, enrich.tau_doc, enrich.n_min) == (5, 0.1, 0.01, 0.01, 2)
    assert (enrich.max_sentences, enrich.fallback_sentences, enrich.max_unit_tokens) == (8, 6, 128)


def test_flag_over_environment_over_yaml_over_default(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml.write_text("seed: 1\nworkspace: from-yaml\nprompts_dir: from-yaml\n")
    monkeypatch.setenv("WBRAG_SEED", "2")
    monkeypatch.setenv("WBRAG_WORKSPACE", "from-env")
    config = load(yaml, seed=3)
    assert (config.seed, config.workspace, config.prompts_dir) == (3, "from-env", "from-yaml")
    assert config.index == Config.model_fields["index"].default


def test_precedence_inside_a_section(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml.write_text("enrich: {tau_s: 0.5, tau_delta: 0.5, tau_doc: 0.5}\n")
    monkeypatch.setenv("WBRAG_ENRICH__TAU_S", "0.25")
    monkeypatch.setenv("WBRAG_ENRICH__TAU_DELTA", "0.25")
    enrich = load(yaml, enrich={"tau_s": 0.125}).enrich
    assert (enrich.tau_s, enrich.tau_delta, enrich.tau_doc, enrich.n_min) == (0.125, 0.25, 0.5, 2)


def test_a_partial_section_keeps_the_other_defaults(yaml: Path) -> None:
    yaml.write_text("enrich:\n  n_min: 4\n")
    assert load(yaml).enrich == EnrichConfig().model_copy(update={"n_min": 4})


def test_one_file_does_not_reach_the_next_load(yaml: Path) -> None:
    yaml.write_text("seed: 9\n")
    assert load(yaml).seed == 9
    assert load().seed == 0


def test_an_empty_file_means_the_defaults(yaml: Path) -> None:
    yaml.write_text("# nothing yet\n")
    assert load(yaml) == load()


def refusal(file: Path | None = None, **overrides: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(file, **overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "section", "near"),
    [("tau_delt", "enrich", "tau_delta"), ("modle", "encoder", "model"), ("shard", "index", "shards")],
)
def test_an_unknown_key_of_a_section_is_refused_with_the_nearest(yaml: Path, key: str, section: str, near: str) -> None:
    yaml.write_text(f"{section}:\n  {key}: 1\n")
    overrides: dict[str, Any] = {section: {key: 1}}
    for message in (refusal(yaml), refusal(**overrides)):
        assert message.startswith(f"{section}.{key}: unknown setting {key!r}: did you mean {near!r}?")


def test_an_unknown_top_level_key_is_refused(yaml: Path) -> None:
    yaml.write_text("enrichment: {}\n")
    message = refusal(yaml)
    assert "unknown setting 'enrichment'" in message
    assert "did you mean 'enrich'" in message
    assert all(name in message for name in Config.model_fields)


def test_an_unknown_key_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBRAG_ENRICH__TAU_X", "1")
    assert "unknown setting 'tau_x'" in refusal()


def test_a_wrong_type_names_setting_and_value(yaml: Path) -> None:
    yaml.write_text("enrich: {top_k: many}\n")
    message = refusal(yaml)
    assert "enrich.top_k" in message
    assert "integer" in message
    assert "'many'" in message
    assert "generator.dtype" in refusal(generator={"dtype": 3})
    assert "retrieval.max_writeback_share" in refusal(retrieval={"max_writeback_share": 2})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.yaml") in refusal(tmp_path / "none.yaml")
    assert str(tmp_path) in refusal(tmp_path)


NO_MAPPINGS = ["- a\n- b\n", "just words\n", "42\n", "a: [1\n", "a: b: c\n", "1: 2\n", "\x00", "\t- x"]


@pytest.mark.parametrize("text", NO_MAPPINGS)
def test_a_file_that_is_no_mapping_is_refused(yaml: Path, text: str) -> None:
    yaml.write_text(text)
    message = refusal(yaml)
    assert "YAML mapping" in message
    assert str(yaml) in message
    assert "\n" not in message


def test_a_variable_that_is_no_json_is_not_blamed_on_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBRAG_ENCODER__ACTORS", "[1,")
    message = refusal()
    assert "encoder" in message
    assert "environment" in message
    assert "YAML" not in message


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().enrich.top_k = 3  # type: ignore[misc]


def leaves(tree: dict[str, Any], prefix: str = "--") -> set[str]:
    found: set[str] = set()
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name}
    return found


def test_flags_list_every_leaf() -> None:
    listed = flags()
    assert set(listed) == leaves(load().model_dump())
    assert "--enrich.tau_delta" in listed
    assert listed["--enrich.top_k"] == "K (default 5)"
    assert set(flags(EnrichConfig)) == {f"--{name}" for name in EnrichConfig.model_fields}


def test_fingerprint_follows_the_values() -> None:
    assert fingerprint(load().enrich, "a") == fingerprint(EnrichConfig(), "a")
    assert fingerprint(EnrichConfig()) != fingerprint(load(enrich={"n_min": 3}).enrich)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint("a", "b") != fingerprint("ab")


def test_engine_settings_are_vllms_own_and_only_those_that_load_no_code(yaml: Path) -> None:
    yaml.write_text("generator: {engine: {quantization: fp8, load_format: dummy}}\n")
    assert load(yaml).generator.engine.chosen() == {"quantization": "fp8", "load_format": "dummy"}
    for options in ({"trust_remote_code": True}, {"load_format": "pt"}, {"quantisation": "fp8"}):
        with pytest.raises(UsageError, match=next(iter(options))):
            load(generator={"engine": options})


def test_a_later_check_leaves_recorded_fingerprints_of_the_checks() -> None:
    """As commit 44add3c wrote them: the default, which has a check more by now, and a list that somebody chose."""
    assert fingerprint(ChecksConfig()) == "161e8a2094c0"
    assert fingerprint(ChecksConfig(enabled=("grounding", "trust"))) == "ae27a76588e7"
    without = tuple(name for name in ChecksConfig().enabled if name != "dissent")
    assert fingerprint(ChecksConfig(enabled=(*without[:-1], "dissent"))) != "161e8a2094c0"
