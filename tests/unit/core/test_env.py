"""A torchvision of another torch build is named before it breaks everything else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wbrag.core.env import check_torchvision
from wbrag.core.errors import WbragError


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Later tests import transformers, which would find the torchvision of these."""
    yield
    sys.modules.pop("torchvision", None)


def test_a_torchvision_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WbragError, match="pip uninstall torchvision"):
        check_torchvision()


def test_none_or_one_that_loads_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_torchvision()
    (tmp_path / "torchvision.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    check_torchvision()
