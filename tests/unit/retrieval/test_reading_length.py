"""What an encoder does not read of a corpus is counted, and said with the setting that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wbrag.core.model_sections import EncoderConfig
from wbrag.data import ingest_corpus, parts
from wbrag.retrieval.encoder import Encoder
from wbrag.retrieval.reading_length import reading_length, sampled

THAI = "สะพานสร้างเสร็จในปีนั้น " * 3
SETTINGS = EncoderConfig()


def corpus(folder: Path, *texts: str) -> list[Path]:
    rows = (json.dumps({"id": str(i), "title": "T", "text": text}) + "\n" for i, text in enumerate(texts))
    (folder / "c.jsonl").write_text("".join(rows))
    ingest_corpus(folder / "c.jsonl", folder / "corpus", format="jsonl")
    return sorted((folder / "corpus").iterdir())


def test_cut_and_unknown_passages(tmp_path: Path) -> None:
    files = corpus(tmp_path, "A short one.", "word " * 300, "word " * 253, "word " * 254, THAI, "橋は古い。" * 20)
    found = reading_length(SETTINGS, files)  # type: ignore[arg-type]
    assert found is not None
    long, strange = found.said(SETTINGS, 6)
    assert (found.looked_at, found.cut, found.unknown) == (6, 2, 1)
    assert long.startswith("2 of 6 passages are longer than the 256 tokens that the encoder reads")
    assert "--chunk-words" in long and "multilingual" in strange
    reads = Encoder(SETTINGS).model.tokenizer
    assert [len(reads(f"T\n{'word ' * n}")["input_ids"]) for n in (253, 254)] == [256, 257]


def test_nothing_to_say(tmp_path: Path) -> None:
    found = reading_length(SETTINGS, corpus(tmp_path, "A short one."))  # type: ignore[arg-type]
    assert found is not None and found.said(SETTINGS, 1) == []
    assert reading_length(EncoderConfig(model=str(tmp_path)), []) is None


@pytest.mark.parametrize("most", [1, 7, 30, 100])
def test_the_sample_comes_from_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP", 10)
    files = corpus(tmp_path, *(f"text {i}" for i in range(55)))
    found = [int(text.split()[-1]) for text in sampled(files, most)]  # type: ignore[arg-type]
    assert len(found) == min(most, 55) and found == sorted(set(found))
    if most >= 7:
        assert {n // 10 for n in found} == set(range(6))
