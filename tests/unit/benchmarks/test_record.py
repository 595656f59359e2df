"""A benchmark's figures are kept: the newest run is quoted, and the one it replaces stays beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.benchmarks import benchmark


def test_a_run_replaces_the_quoted_one_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = benchmark("lib.measured", monkeypatch)
    speed = measured.Figure("speed", 1.5, target=2.0)
    measured.record("x", "python benchmarks/x.py", [speed], "Ten rows.", quick=True, results=tmp_path)
    assert not list(tmp_path.iterdir()), "a quick run is not kept"
    measured.record("x", "python benchmarks/x.py", [speed], "Ten rows.", quick=False, results=tmp_path)
    first = json.loads((tmp_path / "x.json").read_text())
    assert first["figures"][0]["value"] == 1.5
    first["when"] = "2026-11-22 16:05"  # two runs of one minute would have one name
    (tmp_path / "x.json").write_text(json.dumps(first))
    faster = measured.Figure("speed", 2.5, target=2.0)
    measured.record("x", "python benchmarks/x.py", [faster], "Ten rows.", quick=False, results=tmp_path)
    assert json.loads((tmp_path / "x.json").read_text())["figures"][0]["value"] == 2.5
    assert json.loads((tmp_path / "earlier" / "x-2026-11-22T1605.json").read_text()) == first


def test_a_target_is_met_from_its_own_side(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = benchmark("lib.measured", monkeypatch).Figure
    assert figure("speed", 2.0, target=2.0).met and not figure("speed", 1.9, target=2.0).met
    assert figure("memory", 1.2, target=1.3, better="lower").met
    assert not figure("memory", 1.4, target=1.3, better="lower").met
    assert figure("seconds", 3.0).met is None
