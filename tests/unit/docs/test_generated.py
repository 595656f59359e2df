"""Tables and pictures in the repository are what their commands make from the stored figures."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
NAMES = re.compile(r'id="[^"]*"|url\(#[^)]*\)|href="#[^"]*"')  # of shapes: hashes of their coordinates


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the folder scripts/, which is no package."""
    spec = spec_from_file_location(f"scripts_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


def test_every_table_is_made_from_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = script("tables", monkeypatch)
    for (page, name), text in tables.blocks().items():
        assert tables.block(ROOT / page, name) == text, f"{page}, {name}: run `python scripts/tables.py`"


def test_a_missed_target_stays_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = script("tables", monkeypatch)
    figure = {"name": "speed", "value": 0.7, "unit": "x", "target": 0.95, "better": "higher", "short": "Speed"}
    result = {"figures": [figure], "command": "python benchmarks/x.py", "hardware": "a machine"}
    assert "| Speed | 0.7 x | at least 0.95 x: **missed** |" in tables.speed([result])


def test_every_picture_is_made_from_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = script("figures", monkeypatch)
    made = figures.pictures()
    assert set(made) == {file.name for file in figures.IMAGES.glob("*.svg")}
    for name, text in made.items():
        stored, drawn = (NAMES.sub("", t) for t in ((figures.IMAGES / name).read_text(encoding="utf-8"), text))
        hint = f"{name}: run `python scripts/figures.py`"
        assert NUMBER.sub("0", stored) == NUMBER.sub("0", drawn), hint
        places = ([float(n) for n in NUMBER.findall(t)] for t in (stored, drawn))
        assert next(places) == pytest.approx(next(places), abs=0.01), hint


def test_a_gain_that_may_be_chance_is_drawn_hollow(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = script("figures", monkeypatch)
    gain = {"label": "Write-back", "gain": 0.04, "ci95": [0.01, 0.07]}
    light = figures.SCHEMES["light"]

    def dots(p: float) -> int:
        axes = figures.gains([{**gain, "p": p}, {**gain, "p": 0.01}], light)
        return sum(line.get_markerfacecolor() == light.accent for line in axes.lines if line.get_marker() == "o")

    assert (dots(0.01), dots(0.3)) == (2, 1)
