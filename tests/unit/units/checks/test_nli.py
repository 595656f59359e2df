"""The entailment model, with a cross-encoder made here: tiny, its weights set by hand, its labels in an odd order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_bert import save_cross_encoder
from wbrag.core.errors import WbragError
from wbrag.core.sections import ChecksConfig
from wbrag.units.checks.nli import CrossEncoderNli, open_nli

WORDS = "the kite flies owl sees".split()


def save(folder: Path, labels: list[str], *, safetensors: bool = True) -> Any:
    model = save_cross_encoder(folder, WORDS, labels)
    if not safetensors:
        import torch

        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return model


PAIRS = [("the kite flies", "the owl sees"), ("the owl sees the kite", "kite"), ("owl", "the kite flies the owl")]


def test_probabilities_in_the_order_of_the_protocol(tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    labels = ["neutral", "CONTRADICTION", "Entailment"]
    model = save(tmp_path / "m", labels)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    nli = open_nli(ChecksConfig(nli_model=str(tmp_path / "m")))
    assert nli is not None
    found = nli(PAIRS)
    for (premise, hypothesis), (entailment, neutral, contradiction) in zip(PAIRS, found):
        with torch.no_grad():
            logits = model(**tokenizer(premise, hypothesis, return_tensors="pt")).logits[0]
        wanted = torch.softmax(logits, 0).tolist()
        assert [neutral, contradiction, entailment] == pytest.approx(wanted, abs=1e-4)
    assert len({round(p, 3) for p in found[0]}) == 3
    assert nli([]) == []


def test_no_model_is_no_model() -> None:
    assert open_nli(ChecksConfig()) is None


@pytest.mark.parametrize("labels", [["LABEL_0", "LABEL_1", "LABEL_2"], ["entailment", "not_entailment"]])
def test_labels_that_do_not_say_what_they_are_are_refused(tmp_path: Path, labels: list[str]) -> None:
    save(tmp_path / "m", labels)
    with pytest.raises(WbragError, match="expected an entailment model with the labels"):
        CrossEncoderNli(str(tmp_path / "m"))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "m", ["entailment", "neutral", "contradiction"], safetensors=False)
    with pytest.raises(WbragError, match="safetensors"):
        CrossEncoderNli(str(tmp_path / "m"))


def test_a_missing_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WbragError, match="checks.nli_model"):
        CrossEncoderNli(str(tmp_path / "none"))
