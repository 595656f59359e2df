"""Tables and pictures in the repository are what their commands make from the stored figures."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import asdict
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


def test_the_results_page_is_made_from_stored_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    results, tables = script("results", monkeypatch), script("tables", monkeypatch)
    benches = results.stored()
    for name, text in results.blocks(benches).items():
        assert tables.block(results.PAGE, name) == text, f"{name}: run `python scripts/results.py`"
    assert set(results.pictures(benches)) == {file.name for file in results.IMAGES.glob("*.svg")}
    assert tables.block(ROOT / "README.md", "real") == results.on_real_sets(benches)
    assert tables.block(ROOT / "README.md", "replication") == results.replicated(benches)


def test_a_suites_figures_are_stored_without_texts_and_join(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = script("results", monkeypatch)
    monkeypatch.setattr(results, "STORE", tmp_path / "suites")

    def report(name: str, **scores: float | None) -> dict[str, Any]:
        cell = {"model": "m, as it is", "method": "naive", "set": name}
        found = {"n": 2, "p": 0.2, "wins": 1, "losses": 0, "se": 0.5}
        compared = cell | found | {"over": "base", "gain": 0.5, "gain_ci95": [0.0, 1.0]}
        made: dict[str, Any] = {key: {} for key in results.MADE} | {
            "cells": {f"m, as it is; naive; {of}": "1" for of in ("a", "b")}
        }
        return {
            "name": "real",
            "scores": [cell],
            "comparisons": [compared],
            "construction": [cell | {"retained_ranks": [1, 0], "words": [[9, 3]]}],
            "points": [],
            "changed": [cell | {"question": "what is secret?"}],
            "made": made | {"settings": {"generator": {"base_url": "http://secret"}}},
            "questions": [cell | {"id": "q", "stratum": "neither", "scores": scores}],
        }

    results.store(report("a", base=None, writeback=1.0))
    results.store(report("b", base=0.0, writeback=1.0, control_rows=0.0))
    [bench] = results.stored()
    assert {row["set"]: row["scores"] for row in bench.questions} == {
        "a": {"base": None, "writeback": 1.0},
        "b": {"base": 0.0, "writeback": 1.0, "control_rows": 0.0},
    }
    assert [row["p_holm"] for row in bench.comparisons] == [0.4, 0.4]
    assert "secret" not in "".join(file.read_text(errors="replace") for file in results.STORE.iterdir())
    pictures = results.pictures([bench])
    assert "real-gains-m-as-it-is-naive-narrow.svg" in pictures and all(
        "<svg xmlns" in svg for svg in pictures.values()
    )


def test_a_part_that_is_stored_twice_drops_no_other_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier cell was made of was forgotten when it was joined, and then the cell with it."""
    results = script("results", monkeypatch)
    shutil.copytree(results.STORE, tmp_path / "suites")
    monkeypatch.setattr(results, "STORE", tmp_path / "suites")
    before = results.load("real")
    made_of = before.made["cells"]
    part = [row for row in before.scores if row["set"] == "boolq"]
    cells = {cell: name if cell.endswith("boolq") else "" for cell, name in made_of.items()}
    report = asdict(before) | {"scores": part, "made": before.made | {"cells": cells}}
    report["questions"] = [row for row in before.questions if row["set"] == "boolq"]
    for name in ("comparisons", "construction", "strata"):
        report[name] = [row for row in report[name] if row["set"] == "boolq"]
    for _ in range(2):
        results.store(report)
        after = results.load("real")
        assert after.made["cells"] == made_of and len(after.scores) == len(before.scores)
