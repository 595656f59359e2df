"""Trained retrievers at rest: named by contents, checked before they are loaded, refused beside another encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wbrag.core.errors import WbragError
from wbrag.retrieval.adapter import Adapter
from wbrag.retrieval.trained import TrainedRetriever, named, open_adapter, save_adapter, trained

D = 8


def adapter(seed: int = 0) -> Adapter:
    rng = np.random.default_rng(seed)
    return Adapter(*(rng.normal(size=shape).astype(np.float32) for shape in ((2, D), (D, 2))))


def stored(root: Path, seed: int = 0, created_at: str = "2026-01-01", encoder: str = "e", better: bool = True) -> str:
    part = save_adapter(root, adapter(seed), {"seed": seed}, {"mrr_at_10": {"n": 9}})
    found = TrainedRetriever(encoder, "a model", D, (part,), created_at, better=better)
    found.write(root)
    return found.name


def test_what_was_written_is_read(tmp_path: Path) -> None:
    name = stored(tmp_path)
    found = TrainedRetriever.read(tmp_path / f"{name}.json")
    assert (found.name, found.encoder, found.better) == (name, "e", True)
    again = open_adapter(tmp_path, found)
    assert again is not None
    np.testing.assert_array_equal(again.up, adapter().up)
    assert stored(tmp_path) == name and stored(tmp_path, seed=1) != name


def test_a_flipped_bit_and_a_lost_file_are_refused(tmp_path: Path) -> None:
    found = TrainedRetriever.read(tmp_path / f"{stored(tmp_path)}.json")
    file = tmp_path / found.parts[0].folder / "adapter.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(WbragError, match="damaged"):
        open_adapter(tmp_path, found)
    file.unlink()
    with pytest.raises(WbragError, match="no file"):
        open_adapter(tmp_path, found)


def test_a_changed_and_a_foreign_manifest_are_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{stored(tmp_path)}.json"
    with pytest.raises(WbragError, match="found another"):
        TrainedRetriever.read(path, "0" * 64)
    data = json.loads(path.read_text())
    for changed, said in (({**data, "version": 9}, "format 1"), ([], "another file"), ({"version": 1}, "another file")):
        path.write_text(json.dumps(changed))
        with pytest.raises(WbragError, match=said):
            TrainedRetriever.read(path)
    with pytest.raises(WbragError, match="found none"):
        TrainedRetriever.read(tmp_path / "nothing.json")


def test_they_are_found_by_encoder_and_name(tmp_path: Path) -> None:
    later, earlier = stored(tmp_path, 0, "2026-02-01"), stored(tmp_path, 1, "2026-01-01")
    other = stored(tmp_path, 2, encoder="f")
    assert [one.name for one in trained(tmp_path, "e")] == [earlier, later]
    assert named(tmp_path, "e", "a model", later).name == later
    for name in (other, "nobody"):
        with pytest.raises(WbragError, match=earlier):
            named(tmp_path, "e", "a model", name)
    assert trained(tmp_path / "none", "e") == []
